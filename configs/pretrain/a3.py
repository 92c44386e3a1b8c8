# ResNet strikes back, "A3": 100 epochs at 160 pixels, tested at 224.
# Published: 78.1 top-1 (table 1).
# make pretrain VARIANT=a3 PROTOCOL=paper GPUS=4

_base_ = "a2.py"

epochs = 100
train_resolution = 160
lr = 8e-3
randaugment = "rand-m6-mstd0.5-inc1"
repeats = 1
drop_path = 0.0
