# Faster R-CNN in its C4 form, as GluonCV trains it on VOC: the detector of Bag of Tricks' table 8.
# Layers 1-3 are the features (stride 16), layer 4 is the head of the regions.
# make detect VARIANT=best PROTOCOL=paper GPUS=4

_base_ = ["mmdet::_base_/models/faster-rcnn_r50-caffe-c4.py", "_common.py"]

model = dict(
    backbone=dict(
        _delete_=True, type="TimmFeatures", out_levels=(-2,), frozen_stride=4, freeze_norm=True
    ),
    rpn_head=dict(feat_channels=1024),
    roi_head=dict(
        shared_head=dict(_delete_=True, type="TimmLastStage", freeze_norm=True),
        bbox_roi_extractor=dict(roi_layer=dict(use_torchvision=True)),
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(num=128, pos_fraction=0.25))),
    test_cfg=dict(
        rpn=dict(nms_pre=6000, max_per_img=300),
        # a low threshold: average precision counts the whole ranking
        rcnn=dict(score_thr=0.01, nms=dict(type="nms", iou_threshold=0.3), max_per_img=100),
    ),
)
