# Bag of Tricks, section 5.3, "+ distill w/o mixup": knowledge distillation from ResNet-152-D.
# Published: 78.67 top-1 (tables 6 and 8).
# make pretrain VARIANT=distill PROTOCOL=paper GPUS=8

_base_ = "smooth.py"

distill = "teacher"
