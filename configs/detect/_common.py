# What both detectors share: VOC's images, and the schedule of GluonCV's Faster R-CNN.

scale = (1000, 600)  # longer and shorter side, at most
train_pipeline = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),  # after resizing, which would shrink the boxes
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
train_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="SeededSampler"),
    batch_sampler=dict(type="ResumableBatches", by="AspectRatioBatchSampler"),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_evaluator = dict(type="VocMap")

limit = None  # debug run: train on this many images only

# 4 GPUs x 1 image; another total batch scales the learning rate with it
total_batch_size = 4
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.001, momentum=0.9, weight_decay=5e-4),
)
train_cfg = dict(type="ResumableLoop", max_epochs=20)
test_cfg = dict(type="TestLoop")
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", by_epoch=True, milestones=[14], gamma=0.1),
]
