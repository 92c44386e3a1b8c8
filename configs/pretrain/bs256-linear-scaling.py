# Bag of Tricks, table 4, "Linear scaling": ResNet-50, stride in the first 1x1 convolution.
# Published: 75.87 top-1 (tables 2, 3 and 4).
# make pretrain VARIANT=bs256-linear-scaling PROTOCOL=paper GPUS=8

_base_ = "b-standard.py"

arch = "resnet50_v1"
linear_scaling = True  # at a batch of 256 the same as without
