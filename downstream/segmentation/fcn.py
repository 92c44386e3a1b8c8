"""Dilated FCN on any backbone: mmseg's model and Runner, ADE20K's or CamVid's data."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner, TestLoop

from core import configs, record
from core.runtime import distributed
from core.tasks import MULTI_SCALE_CONFUSION
from downstream.backbones import timm_features
from downstream.openmmlab import compat
from downstream.openmmlab import runner as openmmlab
from downstream.openmmlab.exact_resume import unwrapped_model
from downstream.segmentation.label_maps import LabelMapHook
from downstream.task import DownstreamRun


def run(run: DownstreamRun) -> None:
    """Trains and tests one segmenter.

    Raises:
        InputError: data, backbone or options do not fit.
    """
    compat.prepare("mmseg")
    from downstream.segmentation import mask_datasets

    found = configs.config(run.dataset)
    cfg = build_config(run, found)
    openmmlab.override(cfg, run.options, (*openmmlab.RUNNER_KEYS, *openmmlab.OWN_KEYS))
    sizes = openmmlab.limit_training(cfg, dict(found.sizes), found.splits["train"])
    files = mask_datasets.fingerprint_parts(found, run.data)
    described = record.Dataset(
        name=run.dataset,
        mirrors=found.mirrors,
        fingerprint=openmmlab.fingerprint(files, run.data / found.root),
        sizes=sizes,
        classes=found.classes,
    )

    def metrics(scores: dict[str, float], images: int) -> dict[str, record.Metric]:
        return recorded_metrics(scores, images, found, cfg.multi_scale)

    def test(runner: Runner) -> dict[str, float]:
        hook = LabelMapHook(run.out)
        runner.register_hook(hook)
        scores = runner.test()
        runner.hooks.remove(hook)  # label maps are saved for the single scale only
        if cfg.multi_scale:
            again = test_views(runner, cfg.multi_scale, run.out / MULTI_SCALE_CONFUSION.name)
            scores |= {f"{name}_ms": value for name, value in again.items()}
        return scores

    openmmlab.train_and_test(run, cfg, "mmseg", described, metrics, test)


def recorded_metrics(
    scores: dict[str, float], images: int, data: Config, scales: Sequence[float]
) -> dict[str, record.Metric]:
    """A record's metrics: single scale, and names ending in "_ms" for several scales."""
    quantities = (
        ("pix_acc", "labelled pixels that are right"),
        ("miou", f"mean IoU of the classes that occur, of {data.classes}"),
    )
    several = f"scales {', '.join(map(str, scales))} and mirrored, mean of softmax"
    return {
        f"{name}{test}": record.Metric(
            value=scores[f"{name}{test}"],
            unit="%",
            split=data.splits["test"],
            samples=images,
            detail=f"{what}, {how}, last epoch",
        )
        for test, how in (("", "single scale"), ("_ms", several))
        for name, what in quantities
        if f"{name}{test}" in scores
    }


def test_views(runner: Runner, scales: Sequence[float], keep: Path) -> dict[str, float]:
    """Multi-scale test: pixel accuracy and mean IoU in percent, averaged over scales and mirroring.

    Args:
        keep: file for the confusion matrix of every image.
    """
    from downstream.segmentation import mask_datasets

    loader = copy.deepcopy(runner.cfg.test_dataloader)
    loader.dataset.pipeline = mask_datasets.views(loader.dataset.pipeline, scales)
    evaluator = dict(runner.cfg.test_evaluator, keep=str(keep))
    single = runner.model
    runner.model = mask_datasets.MeanOfViews(module=unwrapped_model(runner))
    try:
        return TestLoop(runner, loader, evaluator).run()
    finally:
        runner.model = single


def build_config(run: DownstreamRun, found: Config) -> Config:
    """The segmenter's config for a backbone, a dataset and a protocol."""
    from downstream.segmentation import mask_datasets

    world = distributed.env_world()
    overlay = configs.read_protocol(run.protocol).get(run.task.name, {})
    cfg = openmmlab.read_config("segment", "fcn", overlay, world)
    loaded = timm_features.load(run.exchange, output_stride=8)
    openmmlab.fill_backbone(cfg, run.exchange, loaded)
    crop = next(t.crop_size for t in cfg.train_pipeline if t.type == "RandomCrop")
    cfg.model.data_preprocessor.size = tuple(crop)
    channels = [level["num_chs"] for level in timm_features.levels(loaded.model)]
    kind = "SyncBN" if timm_features.shares_statistics() else "BN"
    for head, level in ((cfg.model.decode_head, -1), (cfg.model.auxiliary_head, -2)):
        head.in_channels = channels[level]
        head.channels = channels[level] // 4
        head.num_classes = found.classes
        head.norm_cfg = dict(type=kind, requires_grad=True)
    for loader, role in ((cfg.train_dataloader, "train"), (cfg.test_dataloader, "test")):
        pipeline = cfg.train_pipeline if role == "train" else cfg.test_pipeline
        (loader.dataset,) = mask_datasets.dataset_configs(found, run.data, role, pipeline)
    return cfg
