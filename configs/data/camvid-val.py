# CamVid's own val images in place of its test images, to choose a segmenter's settings on.
_base_ = "camvid.py"

mirrors = "camvid-val"
folders = dict(train=("train", "trainannot"), test=("val", "valannot"))
splits = dict(train="train", test="val")
sizes = dict(_delete_=True, train=367, val=101)
