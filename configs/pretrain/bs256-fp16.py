# Bag of Tricks, section 3.2, "+ FP16": with FP32 master weights and loss scaling.
# Published: 76.15 top-1 (table 4).
# make pretrain VARIANT=bs256-fp16 PROTOCOL=paper GPUS=8

_base_ = "bs256-no-bias-decay.py"

precision = "fp16"
