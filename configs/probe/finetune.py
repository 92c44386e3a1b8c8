# Full fine-tuning at 224, for Strikes Back's table 5. The paper does not give its settings; these
# are the nearest published ones, DeiT's for CIFAR: SGD, lr 0.01, batch 768, weight decay 1e-4. It
# gives no rate and no number of epochs for each dataset, so both are chosen on a held-out part of
# the training set: one run for each pair of `grid`, then the reported run on the whole set.
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

# Tried in place of the recipe's own values. A protocol's `finetune.grid` replaces it. With a single
# pair nothing is held out. Options (OPTIONS="lr=0.02") leave one value on their axis.
grid = dict(lr=(0.003, 0.01, 0.03), epochs=(300, 1000))
held_out = 0.2  # of each class of the training set; of a few-shot one, in all
train_size = None  # few-shot: 1000 is VTAB's, 800 to train and 200 to choose on, then all to train
