# Places365-Standard, large images (512 pixels and more at the shorter side).
_base_ = "places365.py"

mirrors = "places365-large"  # never averaged with the small images
root = "places365_large"
# train_large_places365standard.tar, as torchvision names its folder (it unpacks to data_large)
folders = dict(train="data_large_standard", val="val_large")
listings = dict(train="places365_train_standard.txt", val="places365_val.txt")
md5 = {
    "categories_places365.txt": "06c963b85866bd0649f97cb43dd16673",
    "places365_train_standard.txt": "30f37515461640559006b8329efbed1a",
    "places365_val.txt": "e9f2fd57bfd9d07630173f4e8708e4b1",
}
unlabelled = dict(folder="test_large", listing="places365_test.txt", size=328_500)
get_it = (
    "places2.csail.mit.edu (train_large_places365standard.tar, val_large.tar, "
    "filelist_places365-standard.tar); see docs/data.md"
)
