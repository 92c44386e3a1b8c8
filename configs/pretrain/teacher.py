# Bag of Tricks, section 5.3: the teacher, ResNet-152-D with cosine decay and label smoothing.
# make pretrain VARIANT=teacher PROTOCOL=paper GPUS=8

_base_ = "smooth.py"

arch = "resnet152d"
