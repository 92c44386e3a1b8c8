# Bag of Tricks, section 5.4, at equal budget: `best` for 120 epochs, as the recipes without mixup.
# Not in the paper, which gives mixup 200. The teacher is that of `best`.
# make pretrain VARIANT=best-120 PROTOCOL=paper GPUS=8

_base_ = "best.py"

epochs = 120
