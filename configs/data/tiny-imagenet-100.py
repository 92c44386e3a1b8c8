# The first 100 classes of Tiny-ImageNet-200 (64 x 64): the source of the mini protocol.
mirrors = "imagenet"
layout = "tiny-imagenet"
root = "tiny-imagenet-200"
wnids = (0, 100)  # in the order of wnids.txt; 100 to 120 are kept for tinyloc
splits = dict(train="train", test="val")
sizes = dict(train=50_000, val=5_000)
classes = 100
get_it = "cs231n.stanford.edu/tiny-imagenet-200.zip, then make data PROTOCOL=mini; see docs/data.md"
