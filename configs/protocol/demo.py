# Rendered data, two CPU cores, minutes: shows that every stage works, not what photographs do.
name = "demo"
note = "rendered data and tiny networks"

# The recipes' architectures, and what is trained in their place.
architectures = dict(
    resnet50="resnet10_narrow",
    resnet50_v1="resnet10_narrow",  # without bottlenecks there is no 1x1 convolution to stride
    resnet50c="resnet10c_narrow",
    resnet50d="resnet10d_narrow",
    resnet152d="resnet18d_narrow",
)

# The papers' data sets, and what is read in their place: files of configs/data.
datasets = dict(
    imagenet="demo/imagenet",
    places365="demo/places365",
    cifar10="demo/cifar10",
    voc="demo/voc",
    ade20k="demo/ade20k",
)
stages = dict(pretrain="imagenet", detect="voc", segment="ade20k")

# Factors on a recipe's epochs, batch size, learning rate and resolutions.
pretrain = dict(epochs=1 / 15, batch_size=1 / 32, lr=1 / 2, resolution=64 / 224)
finetune = dict(
    epochs=1 / 200,
    batch_size=1 / 24,
    lr=1,
    resolution=64 / 224,
    grid=dict(lr=(0.01,), epochs=(1000,)),  # no choice
)
linear_sgd = dict(
    epochs=1 / 20,
    batch_size=1 / 4,
    lr=1,
    resolution=64 / 224,
    grid=dict(lr=(0.1,), epochs=(100,)),  # no choice
)
# Linear probes see their pictures at these pixels.
linear = dict(resolution=64)

# Pixels, epochs, total batch, a factor on the learning rate, warm-up in steps; of the detector, the
# regions trained on, their cells, and the proposals before and after NMS.
detect = dict(
    scale=(160, 128),
    epochs=5,
    batch_size=4,
    lr=10,
    warmup=50,
    regions=32,
    region_size=7,
    proposals=(1000, 100),
)
segment = dict(base_size=128, crop_size=(112, 112), epochs=3, batch_size=8, lr=1, multi_scale=())
