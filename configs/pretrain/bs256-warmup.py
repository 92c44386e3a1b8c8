# Bag of Tricks, section 3.1, "+ LR warmup": over the first 5 epochs.
# Published: 76.03 top-1 (table 4).
# make pretrain VARIANT=bs256-warmup PROTOCOL=paper GPUS=8

_base_ = "bs256-linear-scaling.py"

warmup_epochs = 5
