# Bag of Tricks, table 4, "+ LR warmup" at a batch of 1024 (lr 0.4).
# Published: 75.93 top-1 (table 4).
# make pretrain VARIANT=bs1024-warmup PROTOCOL=paper GPUS=8

_base_ = "bs256-warmup.py"

batch_size = 1024
