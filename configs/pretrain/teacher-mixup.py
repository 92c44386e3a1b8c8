# Bag of Tricks, section 5.4: the teacher of the recipes with mixup, trained with mixup itself.
# make pretrain VARIANT=teacher-mixup PROTOCOL=paper GPUS=8

_base_ = "mixup.py"

arch = "resnet152d"
