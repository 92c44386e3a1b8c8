# Bag of Tricks, section 5.4, at equal budget: mixup for the 120 epochs of the recipes without it.
# Not in the paper, which gives mixup 200: what mixup does, apart from longer training.
# make pretrain VARIANT=mixup-120 PROTOCOL=paper GPUS=8

_base_ = "mixup.py"

epochs = 120
