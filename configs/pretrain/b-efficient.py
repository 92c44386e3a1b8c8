# Bag of Tricks, table 5, "ResNet-50-B": the stride moved to the 3x3 convolution.
# Published: 76.66 top-1 (table 5).
# make pretrain VARIANT=b-efficient PROTOCOL=paper GPUS=8

_base_ = "bs1024-fp16.py"

arch = "resnet50"
