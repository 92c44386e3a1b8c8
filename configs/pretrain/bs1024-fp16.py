# Bag of Tricks, table 4, "+ FP16" at a batch of 1024 (lr 0.4).
# Published: 76.21 top-1 (tables 3, 4 and 5: ResNet-50, efficient).
# make pretrain VARIANT=bs1024-fp16 PROTOCOL=paper GPUS=8

_base_ = "bs256-fp16.py"

batch_size = 1024
