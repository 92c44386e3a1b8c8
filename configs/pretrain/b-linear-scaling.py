# Bag of Tricks, section 3.1: a batch of 1024, and a learning rate that follows it (0.4).
# Published: 75.17 top-1 (table 4, with the stride in the 1x1 convolution).
# make pretrain VARIANT=b-linear-scaling PROTOCOL=paper GPUS=8

_base_ = "b-standard.py"

batch_size = 1024
linear_scaling = True
