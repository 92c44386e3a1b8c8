"""Faster R-CNN on any backbone: mmdet's model and Runner, VOC's data and metric."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from core import configs, record
from core.tasks import DETECTORS
from downstream.backbones import timm_features
from downstream.openmmlab import compat, runner
from downstream.task import DownstreamRun


def run(run: DownstreamRun) -> None:
    """Trains and tests one detector.

    Raises:
        InputError: data, backbone or options do not fit.
    """
    compat.prepare("mmdet")
    from downstream.detection import voc

    found = configs.config(run.dataset)
    cfg = build_config(run, found)
    runner.override(cfg, run.options, (*runner.RUNNER_KEYS, "limit"))
    parts = voc.part_sizes(found, run.data, "train")
    sizes = runner.limit_training(cfg, dict(found.sizes), "train", parts)
    files = voc.fingerprint_parts(found, run.data)
    root = run.data / found.root
    described = record.Dataset(
        name=run.dataset,
        mirrors=found.mirrors,
        fingerprint=runner.fingerprint(files, root),
        sizes=sizes,
        classes=len(voc.class_names(found, root)),
    )

    def metrics(scores: dict[str, float], images: int) -> dict[str, record.Metric]:
        split = " + ".join(f"{year} {part}".strip() for year, part in found.parts["test"])
        return {
            name: record.Metric(
                value=scores[name],
                unit="%",
                split=split,
                samples=images,
                detail=f"{how}, mean over classes, last epoch",
            )
            for name, how in (
                ("map", "VOC07 11-point AP at IoU 0.5"),
                ("map_all_point", "all-point AP at IoU 0.5"),
                ("ap_coco", "COCO's AP at IoU 0.50:0.95, difficult objects as crowds"),
            )
        }

    runner.train_and_test(run, cfg, "mmdet", described, metrics)


def build_config(run: DownstreamRun, found: Config) -> Config:
    """The detector's config for a backbone, a dataset and a protocol."""
    from core.runtime import distributed
    from downstream.detection import voc

    detector, data_root = run.choices.detector or DETECTORS[0], run.data
    overlay = configs.read_protocol(run.protocol).get(run.task.name, {})
    cfg = runner.read_config("detect", detector, overlay, distributed.env_world())
    fit_backbone(cfg, detector, run.exchange)
    classes = voc.class_names(found, data_root / found.root)
    cfg.model.roi_head.bbox_head.num_classes = len(classes)
    parts = voc.dataset_configs(found, data_root, "train", cfg.train_pipeline)
    cfg.train_dataloader.dataset = dict(type="ConcatDataset", datasets=parts)
    (cfg.test_dataloader.dataset,) = voc.dataset_configs(
        found, data_root, "test", cfg.test_pipeline
    )
    return cfg


def fit_backbone(cfg: Config, detector: str, exchange: Path) -> None:
    """Puts a backbone and the sizes of its features into the config of a detector."""
    loaded = timm_features.load(exchange)
    runner.fill_backbone(cfg, exchange, loaded)
    channels = [level["num_chs"] for level in timm_features.levels(loaded.model)]
    if detector == "c4":
        cfg.model.rpn_head.in_channels = channels[-2]
        cfg.model.roi_head.bbox_roi_extractor.out_channels = channels[-2]
        cfg.model.roi_head.bbox_head.in_channels = channels[-1]
        # layer 4 halves what RoIAlign gives, rounding up
        cells = cfg.model.roi_head.bbox_roi_extractor.roi_layer.output_size
        cfg.model.roi_head.bbox_head.roi_feat_size = (cells + 1) // 2
    else:
        cfg.model.neck.in_channels = channels[-4:]
