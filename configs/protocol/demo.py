# Rendered data, two CPU cores, minutes: shows that every stage works. No claim about photographs.
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

# The papers' datasets, and what is read in their place: files of configs/data.
datasets = dict(
    imagenet="demo/imagenet",
    places365="demo/places365",
    cifar10="demo/cifar10",
    voc="demo/voc",
    coco="demo/coco",
    ade20k="demo/ade20k",
)
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
# Linear probes see their images at this resolution.
linear = dict(resolution=64)

# Single settings of the tasks' configs, by their dotted names.
detect = {
    "train_pipeline.2.scale": (160, 128),  # pixels, at most
    "test_pipeline.1.scale": (160, 128),
    "train_cfg.max_epochs": 5,
    "param_scheduler.0.end": 50,  # warm-up, in steps
    "param_scheduler.1.milestones": [4],
    "total_batch_size": 4,
    "optim_wrapper.optimizer.lr": 0.01,
    "model.train_cfg.rcnn.sampler.num": 32,  # regions trained on, per image
    "model.roi_head.bbox_roi_extractor.roi_layer.output_size": 7,
    # proposals per image, before and after NMS
    "model.train_cfg.rpn_proposal.nms_pre": 1000,
    "model.train_cfg.rpn_proposal.max_per_img": 100,
    "model.test_cfg.rpn.nms_pre": 1000,
    "model.test_cfg.rpn.max_per_img": 100,
}
segment = {
    "train_pipeline.2.scale": (1024, 128),  # longer and shorter side
    "train_pipeline.3.crop_size": (112, 112),
    "test_pipeline.1.scale": (1024, 128),
    "train_cfg.max_epochs": 3,
    "param_scheduler.0.end": 3,
    "total_batch_size": 8,
    "optim_wrapper.optimizer.lr": 0.01,
    "multi_scale": (),
}
