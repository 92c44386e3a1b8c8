"""mmengine's Runner, for detection and segmentation alike: configured, run, measured, recorded."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import LoggerHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from core import configs, record, runs
from core.errors import InputError, unknown
from core.runtime import distributed, signals
from core.runtime.tracking import PlainConfig, backends
from downstream.backbones import checks, timm_features
from downstream.backbones.timm_features import Loaded
from downstream.openmmlab.exact_resume import Keeper
from downstream.openmmlab.progress import Meter
from downstream.task import Task, plain, without_paths, write_record
from pretrain.images import loader

RUNNER_KEYS = (
    *("model", "train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"),
    *("test_dataloader", "test_cfg", "test_evaluator"),
)
OWN_KEYS = ("limit", "multi_scale")  # of a task's config, for us
KEPT = {"detect": "detections.npz", "segment": "confusion.npz"}  # what was found, by picture


@HOOKS.register_module()
class OpenLogger(LoggerHook):
    """mmengine's, but that the curves stay open after the training: the test is of the same run."""

    def after_run(self, runner: Runner) -> None:
        """Nothing."""


def read_config(folder: str, name: str, data: Config, size: Config, world: int) -> Config:
    """A task's config, as large as the protocol makes it.

    Args:
        folder, name: configs/<folder>/<name>.py.
        data: the data set's config; it decides the number of classes.
        size: the protocol's section for the stage: `scale` or `base_size` and `crop_size` in
            pixels, `epochs`, `batch_size` over all devices, `lr` as a factor, `warmup` in steps,
            a detector's `regions` (trained on, per picture), `region_size` (cells of a region, by
            RoIAlign), `rpn_channels` and `proposals` (per picture, before and after NMS); a
            segmenter's `multi_scale` (factors of a second test).
        world: devices, over which the batch is divided. Where it is smaller than they are many,
            each takes one picture, and the learning rate grows in proportion.
    """
    names = [n for n in configs.names(folder) if not n.startswith("_")]
    if name not in names:
        raise unknown("detector" if folder == "detect" else folder, name, names)
    cfg = Config.fromfile(str(configs.CONFIGS / folder / f"{name}.py"))
    for pipeline in (cfg.train_pipeline, cfg.test_pipeline):
        for transform in pipeline:
            if "scale" in size and transform.type == "Resize":
                transform.scale = tuple(size.scale)
            if "base_size" in size and transform.type in ("Resize", "RandomResize"):
                transform.scale = (8 * size.base_size, size.base_size)
            if "crop_size" in size and transform.type == "RandomCrop":
                transform.crop_size = tuple(size.crop_size)
    epochs = size.get("epochs", cfg.train_cfg.max_epochs)
    for schedule in cfg.param_scheduler:
        if "milestones" in schedule:
            part = epochs / cfg.train_cfg.max_epochs
            schedule.milestones = [round(m * part) for m in schedule.milestones]
        elif schedule.by_epoch:
            schedule.end = epochs
        elif "warmup" in size:
            schedule.end = size.warmup
    cfg.train_cfg.max_epochs = epochs
    cfg.train_cfg.val_interval = epochs + 1  # the last epoch is reported, so no other is tested
    total = size.get("batch_size", cfg.total_batch_size)
    per_device = max(1, total // world)
    cfg.train_dataloader.batch_size = per_device
    cfg.optim_wrapper.optimizer.lr *= size.get("lr", 1) * per_device * world / total
    cfg.total_batch_size = per_device * world
    if "multi_scale" in size:
        cfg.multi_scale = tuple(size.multi_scale)
    if "regions" in size:
        cfg.model.train_cfg.rcnn.sampler.num = size.regions
    if "region_size" in size:
        cfg.model.roi_head.bbox_roi_extractor.roi_layer.output_size = size.region_size
    if "rpn_channels" in size:
        cfg.model.rpn_head.feat_channels = size.rpn_channels
    if "proposals" in size:
        before, after = size.proposals
        for proposals in (cfg.model.train_cfg.rpn_proposal, cfg.model.test_cfg.rpn):
            proposals.nms_pre, proposals.max_per_img = before, after
    return cfg


def fill_backbone(cfg: Config, exchange: Path, loaded: Loaded) -> None:
    """Puts a backbone and its preprocessing into a task's model config.

    Pictures are read as BGR and turned to RGB, then normalised with the checkpoint's moments.
    Random weights are trained as a whole: frozen ones would only flatter the others.
    """
    parts = [cfg.model.backbone]
    if "shared_head" in cfg.model.get("roi_head", {}):
        parts.append(cfg.model.roi_head.shared_head)
    for part in parts:
        part.checkpoint = str(exchange)
        if not loaded.about.pretrained:
            part.freeze_norm = False
            if "frozen_stride" in part:
                part.frozen_stride = 0
    cfg.model.data_preprocessor.mean = [255 * m for m in loaded.about.mean]
    cfg.model.data_preprocessor.std = [255 * s for s in loaded.about.std]
    cfg.model.data_preprocessor.bgr_to_rgb = True


def override(cfg: Config, options: Sequence[str], top: Sequence[str] | None = None) -> None:
    """Sets single values by their dotted names; a name that is not there is refused.

    Args:
        top: the keys that may be set or entered at the top of the config; without it, all.
    """
    values = configs.parse_options(list(options))
    for key in values:
        first = key.partition(".")[0]
        if top is not None and first not in top:
            raise unknown("option", first, top)
        place: Any = cfg._cfg_dict
        for part in key.split("."):
            inside = {str(i): v for i, v in enumerate(place)} if isinstance(place, list) else place
            if not isinstance(inside, dict) or part not in inside:
                known = inside if isinstance(inside, dict) else []
                raise unknown(f"option {key}: setting", part, map(str, known))
            place = inside[part]
        number = isinstance(place, int | float) and not isinstance(place, bool)
        if number and not isinstance(values[key], int | float):
            raise InputError(f"option {key}={values[key]!r}: expected a number, as {place!r} is")
    cfg.merge_from_dict(values)


def limit_training(
    cfg: Config, sizes: dict[str, int], split: str, parts: Sequence[int] | None = None
) -> dict[str, int]:
    """Cuts the training set down to `cfg.limit` pictures, if that is set.

    Args:
        sizes: pictures of each split; `split` is the training one.
        parts: pictures of each of its parts, if it has several. Each gives its first ones, as many
            as are its share.

    Returns:
        The sizes as they are then.

    Raises:
        InputError: the limit is no positive number.
    """
    if cfg.limit is None or cfg.limit >= sizes[split]:
        return sizes
    if cfg.limit < 1:
        raise InputError(f"limit={cfg.limit}: expected at least 1 training picture")
    dataset = cfg.train_dataloader.dataset
    if parts is None:
        dataset.indices = cfg.limit
    else:
        ends = [round(cfg.limit * end / sum(parts)) for end in accumulate(parts, initial=0)]
        for part, (begin, end) in zip(dataset.datasets, pairwise(ends), strict=True):
            part.indices = end - begin
        dataset.datasets = [part for part in dataset.datasets if part.indices]
    return sizes | {split: cfg.limit}


def runner_config(cfg: Config, task: Task, workers: int) -> PlainConfig:
    """The Runner's own config: the task's parts, and hooks, logs and seed that are ours."""
    parts = copy.deepcopy({key: cfg[key] for key in RUNNER_KEYS})
    for name in ("train_dataloader", "test_dataloader"):
        parts[name].num_workers = workers
        parts[name].worker_init_fn = dict(type="ignore_stop_signals")
    training = parts["train_dataloader"]
    training.dataset = dict(type="Placed", seed=task.seed, dataset=training.dataset)
    parts["test_evaluator"].keep = str(task.out / KEPT[task.stage])
    return PlainConfig(
        parts
        | dict(
            default_scope={"detect": "mmdet", "segment": "mmseg"}[task.stage],
            work_dir=str(task.out / "work"),
            # the process group is formed already; mmengine is only told that there is one
            launcher="pytorch" if "RANK" in os.environ else "none",
            model_wrapper_cfg=_wrapper() if "RANK" in os.environ else None,
            randomness=dict(seed=task.seed),
            log_level="ERROR",
            default_hooks=dict(
                logger=dict(type="OpenLogger", interval=20),
                checkpoint=None,  # the Keeper's states take its place
            ),
            env_cfg=dict(mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0)),
            visualizer=dict(
                type="mmengine.Visualizer",
                vis_backends=[
                    dict(type="TensorboardVisBackend"),
                    *backends(task.track, task.out, step="iter"),
                ],
            ),
        )
    )


def _wrapper() -> dict[str, Any]:
    """DistributedDataParallel on this process's device; mmengine's default would want a GPU."""
    devices = [int(os.environ["LOCAL_RANK"])] if torch.cuda.is_available() else None
    return dict(type="MMDistributedDataParallel", device_ids=devices, broadcast_buffers=False)


def fingerprint(files: Sequence[Path], root: Path) -> str:
    """SHA-256 over the names and sizes of files, and the contents of those that are text."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(root)} {path.stat().st_size}\n".encode())
        if path.suffix in (".txt", ".xml"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def run(
    task: Task,
    cfg: Config,
    dataset: record.Dataset,
    workers: int,
    metrics: Callable[[dict[str, float], int], dict[str, record.Metric]],
    test: Callable[[Runner], dict[str, float]] = Runner.test,
) -> None:
    """Trains, tests the last epoch, and writes the record; a finished run is left as it is.

    Args:
        metrics: turns what the evaluator found, and the number of test pictures, into the record's.
        test: finds that with the trained model.

    Raises:
        InputError: the weights are not in place, or the loss is not finite.
        Interrupted: SIGTERM or SIGUSR1 came; the state is saved.
    """
    started = datetime.now(UTC)
    loaded = timm_features.load(task.exchange)
    settings = without_paths(plain({k: cfg[k] for k in (*RUNNER_KEYS, *OWN_KEYS) if k in cfg}))
    key = [task.name, task.protocol, task.seed, settings, loaded.sha256]
    meter = Meter("/".join(task.out.parts[-3:-1]), task.exchange)
    with signals.catch_stop_signals() as request, distributed.process_group() as device:
        if not runs.unfinished(task.out, configs.digest([*key, dataset.fingerprint])):
            return
        runner = Runner.from_cfg(runner_config(cfg, task, workers))
        runner.register_hook(Keeper(task.out, task.seed, request, device, meter))
        runner.register_hook(meter)
        runner.train()
        with loader.report_dead_workers(workers):
            found = metrics(test(runner), len(runner.test_dataloader.dataset))
        runner.visualizer.close()
        devices = distributed.world()
        if distributed.rank() != 0:
            return
    write_record(
        task,
        dataset,
        loaded,
        checks.unused_by_features(loaded.about),
        settings,
        found,
        distributed.cost(device, meter.wall(), meter.samples / meter.seconds, devices=devices),
        started,
        sha256_in_model=meter.sha256_in_model,
        outputs=sorted(task.out.glob("*.npz")),
    )
