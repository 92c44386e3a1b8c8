"""Configures, runs and records mmengine's Runner, for detection and segmentation."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import LoggerHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from core import configs, record
from core.errors import InputError, unknown
from core.runtime import distributed, signals
from core.runtime.tracking import PlainConfig, backends
from downstream.backbones import checks, timm_features
from downstream.backbones.timm_features import Loaded
from downstream.openmmlab.exact_resume import ExactResumeHook
from downstream.openmmlab.progress import ProgressHook
from downstream.task import DownstreamRun, finish, to_json, without_paths
from pretrain.images import loader

RUNNER_KEYS = (
    *("model", "train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"),
    *("test_dataloader", "test_cfg", "test_evaluator"),
)
OWN_KEYS = ("limit", "multi_scale")  # keys of a task's config that mmengine does not know
# The keys that a protocol may change. Other top-level names are only used while a config is read.
OVERLAID = (*RUNNER_KEYS, *OWN_KEYS, "train_pipeline", "test_pipeline", "total_batch_size")


@HOOKS.register_module()
class PersistentLoggerHook(LoggerHook):
    """mmengine's LoggerHook, but it leaves the tracker open: the test reports to the same run."""

    def after_run(self, runner: Runner) -> None:
        """Nothing."""


def read_config(
    folder: str,
    name: str,
    overlay: Mapping[str, Any],
    world: int,
    additions: Sequence[Mapping[str, Any]] = (),
) -> Config:
    """A task's config with a protocol's changes, its batch divided among the devices.

    Args:
        folder, name: configs/<folder>/<name>.py.
        overlay: the protocol's section for the task: values by dotted names.
        world: number of devices. If the batch has fewer images than that, each device takes one
            image and the learning rate grows in proportion.
        additions: merged into the config one after the other, before the protocol's section.

    Raises:
        InputError: no such config, or the overlay names a setting that it does not have.
    """
    names = [n for n in configs.names(folder) if not n.startswith("_")]
    if name not in names:
        raise unknown("detector" if folder == "detect" else folder, name, names)
    cfg = configs.read(folder, name)
    for addition in additions:
        cfg.merge_from_dict(addition)
    change(cfg, overlay, OVERLAID)
    cfg.train_cfg.val_interval = cfg.train_cfg.max_epochs + 1  # only the last epoch is tested
    total = cfg.total_batch_size
    per_device = max(1, total // world)
    cfg.train_dataloader.batch_size = per_device
    cfg.optim_wrapper.optimizer.lr *= per_device * world / total
    cfg.total_batch_size = per_device * world
    return cfg


def fill_backbone(cfg: Config, exchange: Path, loaded: Loaded) -> None:
    """Puts a backbone and its preprocessing into a task's model config.

    Images are read as BGR, converted to RGB and normalised with the checkpoint's mean and std.
    Nothing of a random backbone is frozen: frozen random layers would be an unfair baseline.
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
    """Applies the user's KEY=VALUE options with `change`."""
    change(cfg, configs.parse_options(list(options)), top)


def change(cfg: Config, values: Mapping[str, Any], top: Sequence[str] | None = None) -> None:
    """Sets values by dotted names, in which a number is an index into a list.

    Args:
        top: the top-level keys that may be changed; None allows all.

    Raises:
        InputError: an unknown name, or a number would be replaced by something else.
    """
    for key, value in values.items():
        if top is not None and (first := key.partition(".")[0]) not in top:
            raise unknown("option", first, top)
        place: Any = cfg._cfg_dict
        for part in key.split("."):
            inside = {str(i): v for i, v in enumerate(place)} if isinstance(place, list) else place
            if not isinstance(inside, dict) or part not in inside:
                known = inside if isinstance(inside, dict) else []
                raise unknown(f"option {key}: setting", part, map(str, known))
            place = inside[part]
        number = isinstance(place, int | float) and not isinstance(place, bool)
        if number and not isinstance(value, int | float):
            raise InputError(f"option {key}={value!r}: expected a number, as {place!r} is")
    cfg.merge_from_dict(dict(values))


def limit_training(
    cfg: Config, sizes: dict[str, int], split: str, parts: Sequence[int] | None = None
) -> dict[str, int]:
    """Keeps only `cfg.limit` training images, for a debug run; does nothing if it is None.

    Args:
        sizes: number of images per split; `split` is the training split.
        parts: number of images in each part of that split, if it has several. Each part keeps its
            first images, in proportion to its size.

    Returns:
        The new sizes.

    Raises:
        InputError: the limit is below 1.
    """
    if cfg.limit is None or cfg.limit >= sizes[split]:
        return sizes
    if cfg.limit < 1:
        raise InputError(f"limit={cfg.limit}: expected at least 1 training image")
    dataset = cfg.train_dataloader.dataset
    if parts is None:
        dataset.indices = cfg.limit
    else:
        ends = [round(cfg.limit * end / sum(parts)) for end in accumulate(parts, initial=0)]
        for part, (begin, end) in zip(dataset.datasets, pairwise(ends), strict=True):
            part.indices = end - begin
        dataset.datasets = [part for part in dataset.datasets if part.indices]
    return sizes | {split: cfg.limit}


def runner_config(cfg: Config, run: DownstreamRun, scope: str) -> PlainConfig:
    """The config of mmengine's Runner: the task's parts, and our hooks, logs and seed."""
    parts = copy.deepcopy({key: cfg[key] for key in RUNNER_KEYS})
    for name in ("train_dataloader", "test_dataloader"):
        parts[name].num_workers = run.workers
        parts[name].worker_init_fn = dict(type="ignore_stop_signals")
    training = parts["train_dataloader"]
    training.dataset = dict(type="SeededDataset", seed=run.seed, dataset=training.dataset)
    parts["test_evaluator"].keep = str(run.out / run.task.kept_in.name)
    return PlainConfig(
        parts
        | dict(
            default_scope=scope,
            work_dir=str(run.out / "work"),
            # the process group exists already; this only tells mmengine so
            launcher="pytorch" if "RANK" in os.environ else "none",
            model_wrapper_cfg=_wrapper() if "RANK" in os.environ else None,
            randomness=dict(seed=run.seed),
            log_level="ERROR",
            default_hooks=dict(
                logger=dict(type="PersistentLoggerHook", interval=20),
                checkpoint=None,  # ExactResumeHook saves instead
            ),
            env_cfg=dict(mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0)),
            visualizer=dict(
                type="mmengine.Visualizer",
                vis_backends=[
                    dict(type="TensorboardVisBackend"),
                    *backends(run.track, run.out, step="iter"),
                ],
            ),
        )
    )


def _wrapper() -> dict[str, Any]:
    """DistributedDataParallel on this process's device; mmengine's default requires a GPU."""
    devices = [int(os.environ["LOCAL_RANK"])] if torch.cuda.is_available() else None
    return dict(type="MMDistributedDataParallel", device_ids=devices, broadcast_buffers=False)


def fingerprint(files: Sequence[Path], root: Path) -> str:
    """SHA-256 over the names and sizes of files, and the contents of text files."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(root)} {path.stat().st_size}\n".encode())
        if path.suffix in (".txt", ".xml", ".json"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def train_and_test(
    run: DownstreamRun,
    cfg: Config,
    scope: str,
    dataset: record.Dataset,
    metrics: Callable[[dict[str, float], int], dict[str, record.Metric]],
    test: Callable[[Runner], dict[str, float]] = Runner.test,
) -> None:
    """Trains, tests the last epoch, and writes the record; does nothing if the run is finished.

    Args:
        scope: "mmdet" or "mmseg": the registry that the config's names belong to.
        metrics: makes the record's metrics from the evaluator's scores and the number of test
            images.
        test: evaluates the trained model and returns the evaluator's scores.

    Raises:
        InputError: the model does not hold the backbone's weights.
        Diverged: the loss is not finite.
        Interrupted: SIGTERM or SIGUSR1 arrived; the state is saved.
    """
    loaded = timm_features.load(run.exchange)
    settings = without_paths(to_json({k: cfg[k] for k in (*RUNNER_KEYS, *OWN_KEYS) if k in cfg}))
    progress = ProgressHook("/".join(run.out.parts[-3:-1]), run.exchange)
    with signals.catch_stop_signals() as request, distributed.process_group() as device:
        if not run.unfinished([settings, loaded.sha256, dataset.fingerprint]):
            return
        runner = Runner.from_cfg(runner_config(cfg, run, scope))
        runner.register_hook(ExactResumeHook(run.out, run.seed, request, device, progress))
        runner.register_hook(progress)
        runner.train()
        with loader.report_dead_workers(run.workers):
            found = metrics(test(runner), len(runner.test_dataloader.dataset))
        runner.visualizer.close()
        devices = distributed.world()
        if distributed.rank() != 0:
            return
    finish(
        run,
        loaded,
        checks.unused_by_features(loaded.about),
        sha256_in_model=progress.sha256_in_model,
        dataset=dataset,
        config=settings,
        metrics=found,
        cost=distributed.cost(
            device, progress.wall(), progress.samples / progress.seconds, devices=devices
        ),
        outputs=sorted(run.out.glob("*.npz")),
    )
