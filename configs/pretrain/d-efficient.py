# Bag of Tricks, tables 8 and 9, "D-efficient": + the model tweaks B to D of section 4.
# Published: 77.16 top-1 (tables 5, 6 and 8).
# make pretrain VARIANT=d-efficient PROTOCOL=paper GPUS=8

_base_ = "b-efficient.py"

arch = "resnet50d"
