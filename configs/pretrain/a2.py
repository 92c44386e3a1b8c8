# ResNet strikes back, "A2": 300 epochs of LAMB, BCE, RandAugment, mixup and CutMix; any timm ARCH=.
# Published: 79.8 top-1 (table 1).
# make pretrain VARIANT=a2 PROTOCOL=paper GPUS=4

_base_ = "b-standard.py"

epochs = 300
optimiser = "lamb"
batch_size = 2048
base_batch_size = 2048
lr = 5e-3
warmup_epochs = 5
lr_decay = "cosine"
weight_decay = 0.02
no_bias_decay = True
init = "timm"
zero_gamma = True
precision = "fp16"

loss = "bce"
randaugment = "rand-m7-mstd0.5-inc1"
mixup_alpha = 0.1
cutmix_alpha = 1.0
repeats = 3
drop_path = 0.05

crop_ratio = 0.95
interpolation = "bicubic"
hsv_jitter = 0.0
pca_noise = 0.0
mean = (0.485, 0.456, 0.406)
std = (0.229, 0.224, 0.225)
