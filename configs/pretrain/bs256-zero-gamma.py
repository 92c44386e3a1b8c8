# Bag of Tricks, section 3.1, "+ Zero gamma": in the last BN of each residual block.
# Published: 76.19 top-1 (table 4).
# make pretrain VARIANT=bs256-zero-gamma PROTOCOL=paper GPUS=8

_base_ = "bs256-warmup.py"

zero_gamma = True
