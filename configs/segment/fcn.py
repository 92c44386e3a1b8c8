# Dilated FCN (layers 3 and 4 at stride 8), as GluonCV trains it on ADE20K: Bag of Tricks' table 9.
# make segment VARIANT=best PROTOCOL=paper GPUS=4

_base_ = "mmseg::_base_/models/fcn_r50-d8.py"

model = dict(
    pretrained=None,
    backbone=dict(_delete_=True, type="TimmFeatures", output_stride=8),
    # the loss is the mean over labelled pixels; ignored ones do not thin it
    decode_head=dict(num_convs=1, concat_input=False, loss_decode=dict(avg_non_ignore=True)),
    auxiliary_head=dict(loss_decode=dict(loss_weight=0.5, avg_non_ignore=True)),
)

base_size = 520  # shorter side
crop_size = (480, 480)
train_pipeline = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    dict(type="LoadAnnotations"),
    dict(
        type="RandomResize",
        scale=(8 * base_size, base_size),
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
    ),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomBlur", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    dict(type="Resize", scale=(8 * base_size, base_size), keep_ratio=True),
    dict(type="LoadAnnotations"),  # after resizing: scored at the label map's own size
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    sampler=dict(type="SeededSampler"),
    batch_sampler=dict(type="ResumableBatches", drop_last=True),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_evaluator = dict(type="ConfusionMetric")
# factors on the base size, each also mirrored, of a second test; none without them
multi_scale = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)

limit = None  # debug run: train on this many images only

# 4 GPUs x 4 crops; another total batch scales the learning rate with it
total_batch_size = 16
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(
        custom_keys=dict(decode_head=dict(lr_mult=10), auxiliary_head=dict(lr_mult=10))
    ),
)
train_cfg = dict(type="ResumableLoop", max_epochs=120)
test_cfg = dict(type="TestLoop")
param_scheduler = [
    dict(type="PolyLR", power=0.9, eta_min=0, by_epoch=True, end=120, convert_to_iter_based=True)
]
