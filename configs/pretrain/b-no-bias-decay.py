# Bag of Tricks, section 3.1: + no weight decay on biases, gamma and beta.
# Published: 76.03 top-1 (table 4, with the stride in the 1x1 convolution).
# make pretrain VARIANT=b-no-bias-decay PROTOCOL=paper GPUS=8

_base_ = "b-zero-gamma.py"

no_bias_decay = True
