# Bag of Tricks, section 3.1: + learning-rate warm-up over the first 5 epochs.
# Published: 75.93 top-1 (table 4, with the stride in the 1x1 convolution).
# make pretrain VARIANT=b-warmup PROTOCOL=paper GPUS=8

_base_ = "b-linear-scaling.py"

warmup_epochs = 5
