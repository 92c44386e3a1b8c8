# Bag of Tricks, section 5.1, "+ cosine": cosine learning-rate decay.
# Published: 77.91 top-1 (tables 6 and 8).
# make pretrain VARIANT=cosine PROTOCOL=paper GPUS=8

_base_ = "d-efficient.py"

lr_decay = "cosine"
