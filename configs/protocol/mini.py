# Small real data, one GPU: which trick helps here, not what the papers measured.
name = "mini"
note = "small real data: Tiny-ImageNet-100, tinyloc, BCCD, CamVid and CIFAR-10 as JPEG"

architectures = dict()

datasets = {
    "imagenet": "tiny-imagenet-100",
    "voc": "tinyloc",
    "bccd": "bccd",
    "ade20k": "camvid",
    "cifar10": "cifar10-jpeg",
    # to choose settings on
    "tinyloc-val": "tinyloc-val",
    "bccd-val": "bccd-val",
    "camvid-val": "camvid-val",
}
# What `make data ARCHIVES=DIR` unpacks: folder, then its archives with their SHA-256.
archives = {
    "tiny-imagenet-200": {
        "tiny-imagenet-200-train-001-050.tar.xz": (
            "bdc7dd338c3c24d8bb2622c99dfbedcceda33f06926a2c32ee561ba89df14f04"
        ),
        "tiny-imagenet-200-train-051-100.tar.xz": (
            "26c4171a7fcfbf94ae801b876756ca83ec55c6cc2badcde8586885381cd1810c"
        ),
        "tiny-imagenet-200-train-101-120.tar.xz": (
            "4207f13bfeeba4ee07cbceeda3170a50bc2f3a848fdeb1cee80a61f4f786414d"
        ),
        "tiny-imagenet-200-val.tar.xz": (
            "d0e0cfcfa0c172db037c28e995ee5a25f56d43b2c49caa1e93117258a947a9a3"
        ),
    },
    "cifar10-jpeg": {
        "cifar10-test.tar.xz": ("e821b07861dc9540d1628cfd7425d8a543f0be264f930788667466352c67ee2f"),
        "cifar10-train.tar.xz": (
            "89d9753b82b77aa33e6774e01a06ea38184738d5662398c92905a362d2f2aa64"
        ),
    },
    "BCCD": {
        "bccd.tar.xz": ("cdf19b5cfde0f8fd606a7a22304bb9d2cdcf9a0304e24626b15577bbd81ed6a0"),
    },
    "camvid": {
        "camvid.tar": ("08b73fb1b1a4c19b6771f7eadedb7b0caca94cdfd07122f41addf44d3b0cc168"),
    },
}

# Sized by counting samples for an hour of one large GPU: not measured there, and no rate chosen.
pretrain = dict(epochs=1 / 8, batch_size=1 / 4, lr=1 / 2, resolution=64 / 224, resident=True)
finetune = dict(
    epochs=1 / 100,
    batch_size=1 / 6,
    lr=1,
    resolution=64 / 224,
    grid=dict(lr=(0.01,), epochs=(1000,)),  # no choice
    resident=True,
)
linear_sgd = dict(epochs=1 / 20, batch_size=1, lr=1, resolution=64 / 224)
linear = dict(resolution=64)

detect = {
    "train_pipeline.2.scale": (192, 192),  # pixels, at most
    "test_pipeline.1.scale": (192, 192),
    "train_cfg.max_epochs": 8,
    "param_scheduler.0.end": 100,  # warm-up, in steps
    "param_scheduler.1.milestones": [6],
    "total_batch_size": 16,
    "optim_wrapper.optimizer.lr": 0.01,
    "model.train_cfg.rcnn.sampler.num": 64,  # regions trained on, per image
    # proposals per image, before and after NMS
    "model.train_cfg.rpn_proposal.nms_pre": 2000,
    "model.train_cfg.rpn_proposal.max_per_img": 300,
    "model.test_cfg.rpn.nms_pre": 2000,
    "model.test_cfg.rpn.max_per_img": 300,
}
segment = {
    "train_pipeline.2.scale": (1920, 240),  # longer and shorter side
    "train_pipeline.3.crop_size": (192, 192),
    "test_pipeline.1.scale": (1920, 240),
    "train_cfg.max_epochs": 30,
    "param_scheduler.0.end": 30,
    "total_batch_size": 16,
    "optim_wrapper.optimizer.lr": 0.01,
    "multi_scale": (),
}
