# The second linear probe: SGD trains the classifier alone, on random crops and flips. The backbone
# is frozen and in evaluation mode. There is no weight decay, and the rate is chosen on held-out
# images. After the linear evaluation of DINO (arXiv 2104.14294, section 3.2).
# make probe VARIANT=best DATASET=cifar10 MODE=linear-sgd PROTOCOL=paper GPUS=8

_base_ = "finetune.py"

epochs = 100
batch_size = 256
base_batch_size = 256
lr = 0.1
warmup_epochs = 0
weight_decay = 0.0
label_smoothing = 0.0

grid = dict(_delete_=True, lr=(0.01, 0.1, 1.0), epochs=(100,))
