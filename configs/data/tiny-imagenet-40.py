# The first 40 classes of Tiny-ImageNet-200 (64 x 64): the source of the mini-cpu protocol.
_base_ = "tiny-imagenet-100.py"

wnids = (0, 40)  # in the order of wnids.txt
sizes = dict(train=20_000, val=2_000)
classes = 40
