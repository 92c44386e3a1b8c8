# The small form of mini, for two CPU cores: fewer classes, tiny networks, short runs.
_base_ = "mini.py"

name = "mini-cpu"
note = "small real data, tiny networks, short trainings: a rehearsal of mini on two CPU cores"

# What is trained in place of the recipes' architectures, as in the demo.
architectures = dict(
    resnet50="resnet10_narrow",
    resnet50_v1="resnet10_narrow",
    resnet50c="resnet10c_narrow",
    resnet50d="resnet10d_narrow",
    resnet152d="resnet18d_narrow",
)
datasets = dict(imagenet="tiny-imagenet-40")

pretrain = dict(epochs=1 / 20, batch_size=1 / 16, lr=1)
finetune = dict(epochs=1 / 200)
linear_sgd = dict(grid=dict(lr=(0.1,), epochs=(100,)))  # no choice

# The factors on these two learning rates were chosen with d-efficient on tinyloc-val and
# camvid-val, which have no test picture (docs/mini.md).
detect = dict(
    epochs=4,
    batch_size=4,
    lr=80,
    warmup=100,
    regions=32,
    region_size=7,
    rpn_channels=256,  # the papers' 1024 would cost more than the rest of so small a network
    proposals=(1000, 100),
)
segment = dict(base_size=180, crop_size=(144, 144), epochs=10, batch_size=8, lr=3)
