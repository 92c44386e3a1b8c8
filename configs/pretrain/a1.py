# ResNet strikes back, "A1": 600 epochs, with label smoothing and less weight decay than A2.
# Published: 80.4 top-1 (table 1).
# make pretrain VARIANT=a1 PROTOCOL=paper GPUS=4

_base_ = "a2.py"

epochs = 600
weight_decay = 0.01
label_smoothing = 0.1
mixup_alpha = 0.2
