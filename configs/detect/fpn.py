# Faster R-CNN with a feature pyramid, for any backbone with four feature levels. Not the papers'
# detector: its records are kept apart from table 8.
# make detect VARIANT=best DETECTOR=fpn PROTOCOL=paper GPUS=4

_base_ = ["mmdet::_base_/models/faster-rcnn_r50_fpn.py", "_common.py"]

model = dict(
    backbone=dict(_delete_=True, type="TimmFeatures", frozen_stride=4, freeze_norm=True),
    roi_head=dict(bbox_roi_extractor=dict(roi_layer=dict(use_torchvision=True))),
    train_cfg=dict(rcnn=dict(sampler=dict(num=128, pos_fraction=0.25))),
    test_cfg=dict(
        rpn=dict(nms_pre=6000, max_per_img=300),
        rcnn=dict(score_thr=0.01, nms=dict(type="nms", iou_threshold=0.3), max_per_img=100),
    ),
)
