# Bag of Tricks, tables 8 and 9, "B-standard": ResNet-50-B, trained as in section 2.1.
# Published: 76.14 top-1 (table 8).
# make pretrain VARIANT=b-standard PROTOCOL=paper GPUS=8

arch = "resnet50"  # timm's resnet50 has the stride in the 3x3 convolution: the paper's B
dataset = "imagenet"

epochs = 120
batch_size = 256
lr = 0.1
base_batch_size = 256
linear_scaling = False
warmup_epochs = 0
lr_decay = "step"  # divided by 10 at a quarter, a half and three quarters: epochs 30, 60, 90
momentum = 0.9  # Nesterov
weight_decay = 1e-4
no_bias_decay = False
zero_gamma = False
precision = "fp32"

label_smoothing = 0.0
distill = None
distill_temperature = 20
mixup_alpha = 0.0

train_resolution = 224
eval_resolution = 224
crop_ratio = 0.875  # 224 of 256
interpolation = "bilinear"
hsv_jitter = 0.4
pca_noise = 0.1
mean = (123.68 / 255, 116.779 / 255, 103.939 / 255)
std = (58.393 / 255, 57.12 / 255, 57.375 / 255)
