# Bag of Tricks, section 3.1, "+ No bias decay": none on biases, gamma and beta.
# Published: 76.16 top-1 (table 4).
# make pretrain VARIANT=bs256-no-bias-decay PROTOCOL=paper GPUS=8

_base_ = "bs256-zero-gamma.py"

no_bias_decay = True
