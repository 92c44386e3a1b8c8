# Bag of Tricks, table 5, "ResNet-50-C": three 3x3 convolutions in place of the 7x7.
# Published: 76.87 top-1 (table 5).
# make pretrain VARIANT=c-efficient PROTOCOL=paper GPUS=8

_base_ = "b-efficient.py"

arch = "resnet50c"
