# Bag of Tricks, section 3.1: + zero gamma in the last BN of each residual block.
# Published: 76.37 top-1 (table 4, with the stride in the 1x1 convolution).
# make pretrain VARIANT=b-zero-gamma PROTOCOL=paper GPUS=8

_base_ = "b-warmup.py"

zero_gamma = True
