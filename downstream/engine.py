"""mmengine's Runner, for detection and segmentation alike: configured, run, measured, recorded."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from downstream import backbone
from downstream.backbone import Loaded
from pretrain import command, distributed, recipe
from pretrain.errors import InputError, unknown
from results import record

RUNNER_KEYS = (
    *("model", "train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"),
    *("test_dataloader", "test_cfg", "test_evaluator"),
)


@dataclass(frozen=True)
class Task:
    """One downstream run: what is measured on which backbone, and where it is kept.

    Attributes:
        stage: what a record calls it: "evaluate", "detect", "segment", "linear" or "finetune".
        name: the stage with its choices, the folder of its records.
        label: the backbone's row: a recipe's name or a specification made a file name.
        source: the backbone as the user named it.
        exchange: the file of its weights.
    """

    stage: record.Stage
    name: str
    label: str
    source: str
    exchange: Path
    protocol: str
    seed: int
    out: Path


def read_config(folder: str, name: str, data: Config, size: Config, world: int) -> Config:
    """A task's config, as large as the protocol makes it.

    Args:
        folder, name: configs/<folder>/<name>.py.
        data: the data set's config; it decides the number of classes.
        size: the protocol's section for the stage: `scale` or `base_size` and `crop_size` in
            pixels, `epochs`, `batch_size` over all devices, `lr` as a factor, `warmup` in steps,
            a detector's `regions` (trained on, per picture), `region_size` (cells of a region, by
            RoIAlign) and `proposals` (per picture, before and after NMS).
        world: devices, over which the batch is divided. Where it is smaller than they are many,
            each takes one picture, and the learning rate grows in proportion.
    """
    names = [n for n in recipe.names(folder) if not n.startswith("_")]
    if name not in names:
        raise unknown("detector" if folder == "detect" else folder, name, names)
    cfg = Config.fromfile(str(recipe.CONFIGS / folder / f"{name}.py"))
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
    if "regions" in size:
        cfg.model.train_cfg.rcnn.sampler.num = size.regions
    if "region_size" in size:
        cfg.model.roi_head.bbox_roi_extractor.roi_layer.output_size = size.region_size
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


def override(cfg: Config, options: Sequence[str]) -> None:
    """Sets single values by their dotted names; a name that is not there is refused."""
    values = recipe.parse_options(list(options))
    for key in values:
        # what comes in from the top of a task's file is copied into its parts when they are built
        if isinstance(cfg.get("model"), dict) and key.partition(".")[0] not in (
            *RUNNER_KEYS,
            "limit",
        ):
            raise unknown("option", key.partition(".")[0], [*RUNNER_KEYS, "limit"])
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


def limit_training(cfg: Config, sizes: dict[str, int], split: str) -> dict[str, int]:
    """Cuts the training set down to `cfg.limit` pictures, the first of each part, if that is set.

    Args:
        sizes: pictures of each split; `split` is the training one.

    Returns:
        The sizes as they are then.
    """
    if cfg.limit is None or cfg.limit >= sizes[split]:
        return sizes
    dataset = cfg.train_dataloader.dataset
    parts = dataset.get("datasets", [dataset])
    for part in parts:
        part.indices = max(1, cfg.limit // len(parts))
    return sizes | {split: sum(part.indices for part in parts)}


def runner_config(cfg: Config, task: Task, workers: int) -> Config:
    """The Runner's own config: the task's parts, and hooks, logs and seed that are ours."""
    parts = {key: cfg[key] for key in RUNNER_KEYS}
    for loader in ("train_dataloader", "test_dataloader"):
        parts[loader].num_workers = workers
        parts[loader].persistent_workers = workers > 0
    return Config(
        parts
        | dict(
            default_scope={"detect": "mmdet", "segment": "mmseg"}[task.stage],
            work_dir=str(task.out / "work"),
            # the process group is formed already; mmengine is only told that there is one
            launcher="pytorch" if "RANK" in os.environ else "none",
            model_wrapper_cfg=_wrapper() if "RANK" in os.environ else None,
            randomness=dict(seed=task.seed),
            resume=(task.out / "work" / "last_checkpoint").is_file(),
            log_level="ERROR",
            default_hooks=dict(
                logger=dict(type="LoggerHook", interval=20),
                checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=1),
            ),
            custom_hooks=[
                dict(type="WeightsInPlace", exchange=str(task.exchange)),
                dict(type="Meter"),
            ],
            env_cfg=dict(mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0)),
            visualizer=dict(
                type="mmengine.Visualizer",
                vis_backends=[dict(type="TensorboardVisBackend")],
            ),
        )
    )


def _wrapper() -> dict[str, Any]:
    """DistributedDataParallel on this process's device; mmengine's default would want a GPU."""
    devices = [int(os.environ["LOCAL_RANK"])] if torch.cuda.is_available() else None
    return dict(type="MMDistributedDataParallel", device_ids=devices, broadcast_buffers=False)


@HOOKS.register_module()
class WeightsInPlace(Hook):
    """Stops a run before its first step if the model does not hold the checkpoint's weights."""

    def __init__(self, exchange: str) -> None:
        self.exchange = Path(exchange)

    def before_train(self, runner: Runner) -> None:
        if runner.iter == 0:
            model = runner.model.module if hasattr(runner.model, "module") else runner.model
            count, unused = backbone.account(model, self.exchange)
            if distributed.rank() == 0:
                print(
                    f"{count} tensors of {self.exchange} in place, {len(unused)} unused", flush=True
                )


@HOOKS.register_module()
class Meter(Hook):
    """Counts training samples and seconds, over resumptions too, and prints a line an epoch.

    After training it gives all processes the first one's running statistics: each has seen batches
    of its own, and the test is of one model.
    """

    def after_train(self, runner: Runner) -> None:
        distributed.copy_from_first(runner.model.buffers())

    def before_train_epoch(self, runner: Runner) -> None:
        self.began, self.samples = time.perf_counter(), 0
        self.losses: list[torch.Tensor] = []

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        assert data_batch is not None
        assert outputs is not None
        self.samples += len(data_batch["inputs"]) * distributed.world()
        self.losses.append(outputs["loss"].detach())

    def after_train_epoch(self, runner: Runner) -> None:
        loss = torch.stack(self.losses).mean().item()  # also waits for the device
        seconds = time.perf_counter() - self.began
        hub = runner.message_hub
        for name, value in (("train_seconds", seconds), ("train_samples", self.samples)):
            hub.update_info(name, value + (hub.get_info(name) or 0))
        if not math.isfinite(loss):
            raise InputError(
                f"the loss is {loss} in epoch {runner.epoch + 1}: lower "
                f"optim_wrapper.optimizer.lr; the checkpoint of the epoch before is kept"
            )
        if distributed.rank() == 0:
            print(
                f"{'/'.join(Path(runner.work_dir).parts[-4:-2])}: "
                f"epoch {runner.epoch + 1} of {runner.max_epochs}, loss {loss:.3f}, "
                f"{self.samples / seconds:.1f} images/s",
                flush=True,
            )


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
) -> None:
    """Trains, tests the last epoch, and writes the record; a finished run is left as it is.

    Args:
        metrics: turns what the evaluator found, and the number of test pictures, into the record's.
    """
    started, began = datetime.now(UTC), time.perf_counter()
    loaded = backbone.load(task.exchange)
    settings = without_paths(plain({key: cfg[key] for key in (*RUNNER_KEYS, "limit")}))
    key = [task.name, task.protocol, task.seed, settings, loaded.sha256]
    with distributed.process_group() as device:
        if not command.unfinished(task.out, recipe.digest([*key, dataset.fingerprint])):
            return
        runner = Runner.from_cfg(runner_config(cfg, task, workers))
        runner.train()
        found = metrics(runner.test(), len(runner.test_dataloader.dataset))
        devices = distributed.world()
        if distributed.rank() != 0:
            return
    hub = runner.message_hub
    seconds, samples = hub.get_info("train_seconds"), hub.get_info("train_samples")
    # what an earlier, interrupted process trained counts too; its start-up and this one's do not
    wall = max(time.perf_counter() - began, seconds)
    write_record(
        task,
        dataset,
        loaded,
        backbone.unused_by_features(loaded.about),
        settings,
        found,
        record.Cost(
            wall_s=wall,
            samples_per_s=samples / seconds,
            peak_memory_mb=distributed.peak_memory_mb(device),
            device=distributed.device_name(device),
            devices=devices,
            precision="fp32",
            device_hours=wall * devices / 3600,
        ),
        started,
    )


def write_record(
    task: Task,
    dataset: record.Dataset,
    loaded: Loaded,
    left_out: list[str],
    settings: dict[str, Any],
    metrics: dict[str, record.Metric],
    cost: record.Cost,
    started: datetime,
    chosen: dict[str, Any] | None = None,
) -> None:
    """The record of a finished downstream run, and a line that says what was measured.

    Args:
        left_out: names of the checkpoint's tensors that the task does not use.
    """
    finished = record.Record(
        stage=task.stage,
        task=task.name,
        recipe=task.label,
        protocol=task.protocol,
        seed=task.seed,
        dataset=dataset,
        backbone=record.Backbone(
            source=task.source,
            architecture=loaded.about.architecture,
            pretrained=loaded.about.pretrained,
            sha256=loaded.sha256,
            tensors_loaded=len(loaded.model.state_dict()) - len(left_out),
            tensors_left_out=left_out,
            record_sha256=loaded.about.record_sha256 or None,
        ),
        metrics=metrics,
        config=settings,
        chosen=chosen or {},
        cost=cost,
        versions=record.versions(),
        git=record.git_state(Path(__file__).parent),
        started=started,
        finished=datetime.now(UTC),
    )
    record.write(finished, task.out / "record.json")
    # of an evaluation at many resolutions only the checkpoint's own; its table has the others
    own = {name: metric for name, metric in metrics.items() if "@" not in name} or metrics
    numbers = ", ".join(f"{name} {metric.value:.2f} %" for name, metric in own.items())
    first = next(iter(metrics.values()))
    print(
        f"{task.name} with {task.label} ({loaded.about.architecture}), {task.protocol} protocol: "
        f"{numbers} on {first.samples} {first.split} images of {dataset.name}"
    )


def plain(value: Any) -> Any:
    """A config as JSON-like values."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)


def without_paths(value: Any) -> Any:
    """Settings without the places of data and weights, whose contents are hashed on their own."""
    if isinstance(value, dict):
        return {
            k: without_paths(v) for k, v in value.items() if k not in ("checkpoint", "data_root")
        }
    if isinstance(value, list):
        return [without_paths(v) for v in value]
    return value
