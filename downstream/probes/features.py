"""Pooled features of a frozen backbone, extracted once and shared by all probes of a dataset.

They are saved as `runs/<protocol>/features/<key>.npy` and read as memory maps. The key is a hash of
everything the features depend on: weights, images and the transform.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from numpy.typing import DTypeLike
from torch import Tensor

from core import configs, files, record
from core.errors import InputError
from core.metrics import classification
from core.runtime import distributed
from downstream import task as tasks
from downstream.backbones import timm_features
from downstream.backbones.timm_features import Loaded
from downstream.openmmlab import runner
from downstream.task import DownstreamRun
from pretrain.images import datasets, loader, splits, transforms
from pretrain.images.datasets import ImageSet, fingerprint


@dataclass(frozen=True)
class FrozenFeatures:
    """A dataset's features from a frozen backbone, and what a probe's record needs.

    Attributes:
        x_train, x_test: [N, D] in float32, memory-mapped.
        samples_per_s: of the extraction; 0 if the features existed already.
        began: the run's start, by `time.perf_counter`.
    """

    run: DownstreamRun
    settings: Config
    loaded: Loaded
    train: ImageSet
    test: ImageSet
    x_train: np.ndarray
    x_test: np.ndarray
    device: torch.device
    devices: int
    samples_per_s: float
    fingerprint: str
    began: float

    def training(self, dtype: DTypeLike) -> tuple[Tensor, Tensor]:
        """The training features [N, D] as `dtype` and the labels [N], on the device."""
        x = torch.from_numpy(self.x_train.astype(dtype)).to(self.device)
        return x, torch.from_numpy(self.train.labels).to(self.device)

    def write_record(
        self,
        metrics: dict[str, record.Metric],
        right: np.ndarray | None = None,
        chosen: dict[str, Any] | None = None,
    ) -> None:
        """Writes a finished probe's record, and which test samples it classified correctly."""
        wall = time.perf_counter() - self.began
        tasks.finish(
            self.run,
            self.loaded,
            timm_features.classifier_tensors(self.loaded.model),
            dataset=datasets.described(self.fingerprint, self.train, self.test),
            config=tasks.to_json(self.settings._cfg_dict),
            metrics=metrics,
            cost=distributed.cost(self.device, wall, self.samples_per_s, devices=self.devices),
            chosen=chosen,
            outputs=[] if right is None else [classification.save(self.run.out, right)],
        )


def frozen(run: DownstreamRun) -> FrozenFeatures | None:
    """Loads or extracts the features of a probe's dataset.

    Returns:
        None if the probe is finished already, and in every process but the first: the others only
        help to extract.

    Raises:
        InputError: data, backbone or options do not fit.
    """
    began = time.perf_counter()
    settings = read_settings(run.task.name, run.protocol, run.options)
    loaded = timm_features.load(run.exchange)
    whole, test = (datasets.load(run.dataset, run.data, role) for role in ("train", "test"))
    train = splits.training_subset(whole, settings.limit, settings.train_size, run.seed)
    seen = fingerprint(train, test)
    preprocessing = [loaded.about.mean, loaded.about.std]
    fingerprints = [tasks.to_json(settings._cfg_dict), seen, loaded.sha256, *preprocessing]
    with distributed.process_group() as device:
        if not run.unfinished(fingerprints):
            return None
        extracting = time.perf_counter()
        folder = run.out.parents[2] / "features"
        geometry = dict(resolution=settings.resolution, crop_ratio=settings.crop_ratio)
        found = [
            load_or_extract(folder, loaded, images, **geometry, workers=run.workers, device=device)
            for images in (train, test)
        ]
        seconds = time.perf_counter() - extracting
        devices, first = distributed.world(), distributed.rank() == 0
    if not first:
        return None
    return FrozenFeatures(
        run=run,
        settings=settings,
        loaded=loaded,
        train=train,
        test=test,
        x_train=found[0][0],
        x_test=found[1][0],
        device=device,
        devices=devices,
        samples_per_s=sum(len(x) for x, fresh in found if fresh) / seconds,
        fingerprint=seen,
        began=began,
    )


def read_settings(stage: str, protocol: str, options: Sequence[str]) -> Config:
    """A probe's config, changed by the protocol's section `linear` and the user's options."""
    settings = configs.read("probe", stage)
    section = configs.read_protocol(protocol).get("linear", {})
    settings.merge_from_dict({k: v for k, v in section.items() if k in settings})
    runner.override(settings, options)
    return settings


def load_or_extract(
    folder: Path,
    loaded: Loaded,
    images: ImageSet,
    *,
    resolution: int,
    crop_ratio: float,
    workers: int,
    device: torch.device,
) -> tuple[np.ndarray, bool]:
    """Features [N, D] of an image set, memory-mapped, and whether they were extracted now.

    Every process of the group must call it, with the same folder.

    Raises:
        InputError: an image cannot be read.
    """
    about = loaded.about
    key = configs.digest(
        [
            *(loaded.sha256, fingerprint(images), resolution, crop_ratio),
            *(about.interpolation, about.mean, about.std),
        ]
    )
    path = folder / f"{key[:16]}.npy"
    kept = distributed.from_first(partial(intact, path, len(images)))
    if not kept:
        view = loader.EvaluationView(images, resolution, crop_ratio, about.interpolation)
        write(path, loaded, view, workers, device)
    return np.load(path, mmap_mode="r"), not kept


def intact(path: Path, count: int) -> bool:
    """Whether the file holds the features of `count` images and matches its SHA-256."""
    try:
        expected = path.with_suffix(".sha256").read_text()
        return files.sha256_of(path) == expected and len(np.load(path, mmap_mode="r")) == count
    except (OSError, ValueError, EOFError):
        return False


def write(
    path: Path, loaded: Loaded, view: loader.EvaluationView, workers: int, device: torch.device
) -> None:
    """Extracts an image set's features, each process its share, and saves them.

    Raises:
        InputError: an image cannot be read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rank, world = distributed.rank(), distributed.world()
    writer = distributed.from_first(os.getpid)  # two runs may write at the same time
    parts = [path.with_name(f".{path.stem}-{writer}-{r}.npy") for r in range(world)]
    whole = path.with_name(f".{path.stem}-{writer}.npy")
    try:
        _fill(
            parts[rank], len(range(rank, len(view), world)), extract(loaded, view, workers, device)
        )
        distributed.wait_for_all()
        if rank == 0:
            _join(parts, whole, len(view))
            digest = files.sha256_of(whole)
            os.replace(whole, path)
            files.write_atomically(path.with_suffix(".sha256"), digest.encode())
        distributed.wait_for_all()
    finally:
        parts[rank].unlink(missing_ok=True)
        whole.unlink(missing_ok=True)


def _fill(path: Path, count: int, batches: Iterator[np.ndarray]) -> None:
    """Writes batches [n, D] in order to a file of [count, D]."""
    filled, kept = 0, None
    for batch in batches:
        if kept is None:
            kept = np.lib.format.open_memmap(path, "w+", np.float32, (count, batch.shape[1]))
        kept[filled : filled + len(batch)] = batch
        filled += len(batch)
    if kept is not None:
        kept.flush()


def _join(parts: Sequence[Path], path: Path, count: int) -> None:
    """Interleaves the processes' shares into one file of [count, D]."""
    shares = [np.load(part, mmap_mode="r") for part in parts if part.is_file()]
    joined = np.lib.format.open_memmap(path, "w+", np.float32, (count, shares[0].shape[1]))
    for rank, share in enumerate(shares):
        joined[rank :: len(parts)] = share
    joined.flush()


@torch.no_grad()
def extract(
    loaded: Loaded, view: loader.EvaluationView, workers: int, device: torch.device
) -> Iterator[np.ndarray]:
    """This process's share of the features in float32, in batches [n, D].

    They are the inputs of the model's classifier, in evaluation mode.

    Raises:
        InputError: an image cannot be read.
    """
    model = loaded.model.to(device).eval()
    mine = loader.evaluation(view, 256, workers, rank=distributed.rank(), world=distributed.world())
    for images, _, problems in loader.batches_of(mine):
        if problems:
            raise InputError(f"not a readable image: {': '.join(problems[0])}")
        pixels = images.to(device, non_blocking=True).float() / 255
        pixels = transforms.normalise(pixels, loaded.about.mean, loaded.about.std)
        pooled = model.forward_head(model.forward_features(pixels), pre_logits=True)
        yield pooled.float().cpu().numpy()
