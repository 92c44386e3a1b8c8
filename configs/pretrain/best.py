# Bag of Tricks, "+ distill w/ mixup": all tricks; the teacher is trained with mixup too.
# Published: 79.29 top-1 (tables 6 and 8).
# make pretrain VARIANT=best PROTOCOL=paper GPUS=8

_base_ = "mixup.py"

distill = "teacher-mixup"
