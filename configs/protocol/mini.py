# Small real data, one GPU, under an hour. Tells which trick helps here, not what the papers measured.
name = "mini"
note = "small real data: Tiny-ImageNet-100, tinyloc, BCCD, CamVid and CIFAR-10 as JPEG"

architectures = dict()

datasets = {
    "imagenet": "tiny-imagenet-100",
    "voc": "tinyloc",
    "bccd": "bccd",
    "ade20k": "camvid",
    "cifar10": "cifar10-jpeg",
}
stages = dict(pretrain="imagenet", detect="voc", segment="ade20k")

pretrain = dict(epochs=1 / 6, batch_size=1 / 4, lr=1 / 2, resolution=64)
finetune = dict(epochs=1 / 10, batch_size=1 / 6, lr=1, resolution=64)
linear = dict(resolution=64)

detect = dict(scale=(192, 192), epochs=12, batch_size=8, lr=5, warmup=100, regions=64, proposals=(2000, 300))
segment = dict(base_size=240, crop_size=(192, 192), epochs=30, batch_size=16, lr=1)
