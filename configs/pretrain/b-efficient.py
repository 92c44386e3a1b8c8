# Bag of Tricks, section 3.2: + FP16 with FP32 master weights and loss scaling.
# Published: 76.66 top-1 (table 5, ResNet-50-B).
# make pretrain VARIANT=b-efficient PROTOCOL=paper GPUS=8

_base_ = "b-no-bias-decay.py"

precision = "fp16"
