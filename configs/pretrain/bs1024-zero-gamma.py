# Bag of Tricks, table 4, "+ Zero gamma" at a batch of 1024 (lr 0.4).
# Published: 76.37 top-1 (table 4).
# make pretrain VARIANT=bs1024-zero-gamma PROTOCOL=paper GPUS=8

_base_ = "bs256-zero-gamma.py"

batch_size = 1024
