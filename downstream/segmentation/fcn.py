"""Dilated FCN on any backbone: mmseg's model and Runner, ADE20K's or CamVid's data."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner, TestLoop

from core import configs, record
from core.runtime import distributed
from downstream.backbones import timm_features
from downstream.openmmlab import compat
from downstream.openmmlab import runner as openmmlab
from downstream.openmmlab.exact_resume import plain_model
from downstream.task import Task


def run(task: Task, dataset: str, data_root: Path, workers: int, options: Sequence[str]) -> None:
    """Trains and tests one segmenter.

    Args:
        dataset: a file of configs/data in ADE20K's or CamVid's layout.

    Raises:
        InputError: data, backbone or options do not fit.
    """
    compat.prepare("mmseg")
    from downstream.segmentation import mask_datasets

    found = configs.config(dataset)
    cfg = build_config(task, found, data_root)
    openmmlab.override(cfg, options, (*openmmlab.RUNNER_KEYS, *openmmlab.OWN_KEYS))
    sizes = openmmlab.limit_training(cfg, dict(found.sizes), found.splits["train"])
    files = mask_datasets.fingerprint_parts(found, data_root)
    described = record.Dataset(
        name=dataset,
        mirrors=found.mirrors,
        fingerprint=openmmlab.fingerprint(files, data_root / found.root),
        sizes=sizes,
        classes=found.classes,
    )

    def metrics(scores: dict[str, float], pictures: int) -> dict[str, record.Metric]:
        figures = (
            ("pix_acc", "labelled pixels that are right"),
            ("miou", f"mean IoU of the classes that occur, of {found.classes}"),
        )
        scales = ", ".join(map(str, cfg.multi_scale))
        tests = (("", "single scale"), ("_ms", f"scales {scales} and mirrored, mean of softmax"))
        return {
            f"{name}{test}": record.Metric(
                value=scores[f"{name}{test}"],
                unit="%",
                split=found.splits["test"],
                samples=pictures,
                detail=f"{what}, {how}, last epoch",
            )
            for test, how in tests
            for name, what in figures
            if f"{name}{test}" in scores
        }

    def test(runner: Runner) -> dict[str, float]:
        scores = runner.test()
        if cfg.multi_scale:
            again = test_views(runner, cfg.multi_scale, task.out / "confusion_ms.npz")
            scores |= {f"{name}_ms": value for name, value in again.items()}
        return scores

    openmmlab.run(task, cfg, described, workers, metrics, test)


def test_views(runner: Runner, scales: Sequence[float], keep: Path) -> dict[str, float]:
    """Pixel accuracy and mean IoU in percent of the mean over scales, each also mirrored.

    Args:
        keep: file for the confusion of every picture.
    """
    from downstream.segmentation import mask_datasets

    loader = copy.deepcopy(runner.cfg.test_dataloader)
    loader.dataset.pipeline = mask_datasets.views(loader.dataset.pipeline, scales)
    evaluator = dict(runner.cfg.test_evaluator, keep=str(keep))
    single = runner.model
    runner.model = mask_datasets.MeanOfViews(module=plain_model(runner))
    try:
        return TestLoop(runner, loader, evaluator).run()
    finally:
        runner.model = single


def build_config(task: Task, found: Config, data_root: Path) -> Config:
    """The segmenter's config with the backbone, the data and the protocol's size in it."""
    from downstream.segmentation import mask_datasets

    world = distributed.env_world()
    size = configs.read_protocol(task.protocol).get("segment", Config())
    cfg = openmmlab.read_config("segment", "fcn", found, size, world)
    loaded = timm_features.load(task.exchange, output_stride=8)
    openmmlab.fill_backbone(cfg, task.exchange, loaded)
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
        loader.dataset = mask_datasets.dataset_config(found, data_root, role, pipeline)
    return cfg
