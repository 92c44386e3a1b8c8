"""Mask R-CNN on any backbone: mmdet's model and Runner, COCO's data and metric."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from pycocotools import mask as run_lengths

from core import configs, record
from core.metrics import instances
from core.metrics.detection import DetectionResults, Detections, GroundTruth
from core.metrics.instances import InstanceResults
from core.metrics.statistic import values
from core.runtime import distributed
from core.tasks import DETECTORS
from downstream.detection import coco, faster_rcnn
from downstream.openmmlab import compat, runner
from downstream.task import DownstreamRun


def run(run: DownstreamRun) -> None:
    """Trains and tests one model.

    Raises:
        InputError: data, backbone or options do not fit.
    """
    compat.prepare("mmdet")
    found = configs.config(run.dataset)
    cfg = build_config(run, found)
    runner.override(cfg, run.options, (*runner.RUNNER_KEYS, "limit"))
    sizes = runner.limit_training(cfg, dict(found.sizes), found.splits["train"])
    files = coco.fingerprint_parts(found, run.data)
    described = record.Dataset(
        name=run.dataset,
        mirrors=found.mirrors,
        fingerprint=runner.fingerprint(files, run.data / found.root),
        sizes=sizes,
        classes=found.classes,
    )

    def metrics(scores: dict[str, float], images: int) -> dict[str, record.Metric]:
        return {
            f"{of}_ap{suffix}": record.Metric(
                value=scores[f"{of}_ap{suffix}"],
                unit="%",
                split=found.splits["test"],
                samples=images,
                detail=f"COCO's AP of {things} at IoU {iou}, mean over classes, last epoch",
            )
            for of, things in (("mask", "masks"), ("box", "boxes"))
            for suffix, iou in (("", "0.50:0.95"), ("50", "0.50"))
        }

    runner.train_and_test(run, cfg, "mmdet", described, metrics)


def build_config(run: DownstreamRun, found: Config) -> Config:
    """The model's config with the backbone, the data and the protocol's size in it.

    A protocol without a section for the task gives it the size of detection.
    """
    detector = run.choices.detector or DETECTORS[0]
    protocol = configs.read_protocol(run.protocol)
    overlay = protocol.get(run.task.name, protocol.get("detect", {}))
    addition = configs.read("detect", "_mask").to_dict()
    own = addition.pop("by_detector").get(detector, {})
    additions = [addition, dict(model=own)]
    cfg = runner.read_config("detect", detector, overlay, distributed.env_world(), additions)
    faster_rcnn.fit_backbone(cfg, detector, run.exchange)
    head = cfg.model.roi_head
    head.bbox_head.num_classes = head.mask_head.num_classes = found.classes
    if detector == "c4":
        head.mask_head.in_channels = head.bbox_head.in_channels
        # the mask head doubles what layer 4 leaves
        cfg.model.train_cfg.rcnn.mask_size = 2 * head.bbox_head.roi_feat_size
    for loader, role in ((cfg.train_dataloader, "train"), (cfg.test_dataloader, "test")):
        pipeline = cfg.train_pipeline if role == "train" else cfg.test_pipeline
        (loader.dataset,) = coco.dataset_configs(found, run.data, role, pipeline)
    return cfg


@METRICS.register_module()
class CocoAveragePrecision(BaseMetric):
    """COCO's average precision in percent, of masks and of boxes.

    Args:
        keep: file for the instances of every image (`core.metrics.instances.save`).
    """

    default_prefix = None

    def __init__(self, keep: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keep = keep

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            truth = sample["truth"]
            found = {key: value.cpu().numpy() for key, value in sample["pred_instances"].items()}
            by_column = np.asfortranarray(found["masks"].transpose(1, 2, 0).astype(np.uint8))
            self.results.append(
                (
                    str(sample["img_id"]),
                    Detections(found["bboxes"], found["scores"], found["labels"]),
                    GroundTruth(truth["boxes"], truth["labels"], truth["crowds"]),
                    sample["ori_shape"],
                    tuple(mask["counts"] for mask in run_lengths.encode(by_column)),
                    tuple(truth["masks"]),
                )
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        images, found, truth, sizes, masks, object_masks = zip(*results, strict=True)
        boxes = DetectionResults(tuple(self.dataset_meta["classes"]), images, found, truth)
        tested = InstanceResults(boxes, np.array(sizes), masks, object_masks)
        if self.keep is not None:
            instances.save(Path(self.keep), tested)
        return values(tested)
