# Bag of Tricks, table 4, "+ No bias decay" at a batch of 1024 (lr 0.4).
# Published: 76.03 top-1 (table 4).
# make pretrain VARIANT=bs1024-no-bias-decay PROTOCOL=paper GPUS=8

_base_ = "bs256-no-bias-decay.py"

batch_size = 1024
