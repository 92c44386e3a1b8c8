# Bag of Tricks, table 4, "Linear scaling" at a batch of 1024 (lr 0.4).
# Published: 75.17 top-1 (table 4).
# make pretrain VARIANT=bs1024-linear-scaling PROTOCOL=paper GPUS=8

_base_ = "bs256-linear-scaling.py"

batch_size = 1024
