# Bag of Tricks, section 5.4, "+ mixup w/o distill": mixup, which the paper trains for 200 epochs.
# Published: 79.15 top-1 in table 6, 79.16 in table 8.
# make pretrain VARIANT=mixup PROTOCOL=paper GPUS=8

_base_ = "smooth.py"

mixup_alpha = 0.2
epochs = 200
