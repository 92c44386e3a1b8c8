"""A run's metrics as statistics of its test images, read from the files kept beside its record."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.metrics import classification, detection, segmentation
from core.metrics.statistic import PerImage, Statistic, value
from core.record import Record, RecordError
from results.store import query
from results.store.comparability import run_name

LOADERS: dict[str, Callable[[Path], PerImage]] = {
    detection.FILE: detection.load,
    segmentation.FILE: segmentation.load,
    segmentation.MULTI_SCALE_FILE: segmentation.load,
    classification.FILE: classification.load,
}
FILES = {
    "map": detection.FILE,
    "map_all_point": detection.FILE,
    "miou": segmentation.FILE,
    "pix_acc": segmentation.FILE,
    "miou_ms": segmentation.MULTI_SCALE_FILE,
    "pix_acc_ms": segmentation.MULTI_SCALE_FILE,
    "top1": classification.FILE,
    "top5": classification.FILE,
}
DAMAGED = (ValueError, KeyError, IndexError, EOFError, OSError, zipfile.BadZipFile, zlib.error)
ROUNDING = 1e-3  # percent; metrics may have been summed in float32


@dataclass(frozen=True)
class ImageScores:
    """One metric of one run, as a statistic of its images.

    Attributes:
        images: names, or positions in the test split: runs of the same images can be paired.
    """

    images: tuple[str, ...] | tuple[int, ...]
    statistic: Statistic


def load(folder: Path, run: Record, metric: str) -> ImageScores | None:
    """A metric of a run by image; None where the run did not keep its images.

    Raises:
        RecordError: the file is not the record's, or contradicts the record.
    """
    name = FILES.get(metric)
    path = None if name is None else query.output(folder, run, name)
    if path is None:
        return None
    try:
        found = read(path, metric)
    except DAMAGED as error:
        raise RecordError(f"{path}: not readable as {name} with {metric} ({error})") from error
    measured = run.metrics[metric]
    if len(found.images) != measured.samples:
        raise RecordError(f"{path}: {len(found.images)} images, the record has {measured.samples}")
    again = value(found.statistic, len(found.images))
    if abs(again - measured.value) > ROUNDING:
        raise RecordError(f"{path}: {metric} {again:.4f}, the record has {measured.value:.4f}")
    return found


def read(path: Path, metric: str) -> ImageScores:
    """A metric from a file of FILES, without asking a record."""
    results = LOADERS[path.name](path)
    statistic = results.statistics()[metric.removesuffix("_ms")]  # of several scales
    return ImageScores(results.images, statistic)


def missing(run: Record, metric: str) -> str:
    """Why `load` found nothing."""
    if metric not in FILES:
        return f"{metric} is not kept by image"
    return f"{run_name(run)} has no {FILES[metric]}"
