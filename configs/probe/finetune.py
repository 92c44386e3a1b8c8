# Full fine-tuning at 224, for Strikes Back's table 5. The paper does not give its settings; these
# are the nearest published ones, DeiT's for CIFAR: SGD, lr 0.01, batch 768, weight decay 1e-4.
# make probe VARIANT=best DATASET=cifar10 MODE=finetune PROTOCOL=paper GPUS=8

_base_ = "../pretrain/b-standard.py"

dataset = "cifar10"
epochs = 1000
batch_size = 768
base_batch_size = 768
lr = 0.01
lr_decay = "cosine"
warmup_epochs = 5
weight_decay = 1e-4
label_smoothing = 0.1
precision = "fp16"
hsv_jitter = 0.0
pca_noise = 0.0
