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

# Both learning rates were chosen with d-efficient on tinyloc-val and camvid-val, which have no test
# image (docs/mini.md).
detect = {
    "train_cfg.max_epochs": 4,
    "param_scheduler.0.end": 100,  # warm-up, in steps
    "param_scheduler.1.milestones": [3],
    "total_batch_size": 4,
    "optim_wrapper.optimizer.lr": 0.08,
    "model.rpn_head.feat_channels": 256,  # 1024 would cost more than the rest of the network
    "model.train_cfg.rcnn.sampler.num": 32,  # regions trained on, per image
    "model.roi_head.bbox_roi_extractor.roi_layer.output_size": 7,
    # proposals per image, before and after NMS
    "model.train_cfg.rpn_proposal.nms_pre": 1000,
    "model.train_cfg.rpn_proposal.max_per_img": 100,
    "model.test_cfg.rpn.nms_pre": 1000,
    "model.test_cfg.rpn.max_per_img": 100,
}
segment = {
    "train_pipeline.2.scale": (1440, 180),  # longer and shorter side
    "train_pipeline.3.crop_size": (144, 144),
    "test_pipeline.1.scale": (1440, 180),
    "train_cfg.max_epochs": 10,
    "param_scheduler.0.end": 10,
    "total_batch_size": 8,
    "optim_wrapper.optimizer.lr": 0.03,
}
