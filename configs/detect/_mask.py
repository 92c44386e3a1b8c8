# What makes Mask R-CNN of the detectors of this folder, with mmdet's settings for COCO.
# make instances VARIANT=best PROTOCOL=paper GPUS=8

scale = (1333, 800)  # longer and shorter side, at most
train_pipeline = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor", "truth"),
    ),
]
test_evaluator = dict(type="CocoAveragePrecision")

# 8 GPUs x 2 images, for 12 epochs
total_batch_size = 16
optim_wrapper = dict(optimizer=dict(lr=0.02, weight_decay=1e-4))
train_cfg = dict(max_epochs=12)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", by_epoch=True, milestones=[8, 11], gamma=0.1),
]

model = dict(
    type="MaskRCNN",
    data_preprocessor=dict(pad_mask=True),
    train_cfg=dict(rcnn=dict(sampler=dict(num=512))),
    test_cfg=dict(
        rpn=dict(max_per_img=1000),
        rcnn=dict(score_thr=0.05, nms=dict(iou_threshold=0.5), mask_thr_binary=0.5),
    ),
)
mask_loss = dict(type="CrossEntropyLoss", use_mask=True, loss_weight=1.0)
by_detector = dict(
    # Anchors beyond the border are trained on, as in mmdet's Faster R-CNN. Its C4 form of Mask
    # R-CNN leaves them out (allowed_border=0), and fails on images too small for any anchor.
    c4=dict(
        roi_head=dict(
            mask_roi_extractor=None,  # masks are of the same features as boxes
            mask_head=dict(
                type="FCNMaskHead", num_convs=0, conv_out_channels=256, loss_mask=mask_loss
            ),
        ),
    ),
    fpn=dict(
        roi_head=dict(
            mask_roi_extractor=dict(
                type="SingleRoIExtractor",
                roi_layer=dict(
                    type="RoIAlign", output_size=14, sampling_ratio=0, use_torchvision=True
                ),
                out_channels=256,
                featmap_strides=[4, 8, 16, 32],
            ),
            mask_head=dict(
                type="FCNMaskHead",
                num_convs=4,
                in_channels=256,
                conv_out_channels=256,
                loss_mask=mask_loss,
            ),
        ),
        train_cfg=dict(rcnn=dict(assigner=dict(match_low_quality=True), mask_size=28)),
        test_cfg=dict(rpn=dict(nms_pre=1000)),
    ),
)
