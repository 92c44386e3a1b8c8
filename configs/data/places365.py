# Places365-Standard, small images (256 x 256). Its test labels are not public.
mirrors = "places365"
layout = "places365"  # <split>/<category>/*.jpg, <split>.txt, categories_places365.txt
root = "places365_standard"
splits = dict(train="train", test="val")
sizes = dict(train=1_803_460, val=36_500)
classes = 365
# For the evaluation server: test_256.tar, and the list of filelist_places365-standard.tar.
unlabelled = dict(folder="test_256", listing="places365_test.txt", size=328_500)
get_it = "places2.csail.mit.edu (places365standard_easyformat.tar); see docs/data.md"
