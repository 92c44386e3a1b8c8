# Bag of Tricks, table 5, "ResNet-50-D": average pooling in the shortcuts that downsample.
# Published: 77.16 top-1 (tables 5, 6 and 8).
# make pretrain VARIANT=d-efficient PROTOCOL=paper GPUS=8

_base_ = "c-efficient.py"

arch = "resnet50d"
