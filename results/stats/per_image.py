"""What a run keeps of each test image beside its record, as metrics of resampled images.

detections.npz    downstream/average_precision.py: found and true boxes
confusion.npz     downstream/confusion.py: pixels by truth and guess; confusion_ms.npz likewise
correct.npz       results/correct.py: which images are right, for top-1 and top-5
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.metrics.classification import CORRECT
from core.record import Record, RecordError
from results.stats import bootstrap_metrics
from results.stats.intervals import Statistic
from results.store import query
from results.store.comparability import run_name

FILES = {
    "map": "detections.npz",
    "map_all_point": "detections.npz",
    "miou": "confusion.npz",
    "pix_acc": "confusion.npz",
    "miou_ms": "confusion_ms.npz",
    "pix_acc_ms": "confusion_ms.npz",
    "top1": CORRECT,
    "top5": CORRECT,
}
DAMAGED = (ValueError, KeyError, IndexError, EOFError, OSError, zipfile.BadZipFile, zlib.error)
ROUNDING = 1e-3  # percent; metrics may have been summed in float32


@dataclass(frozen=True)
class Scores:
    """One metric of one run by image.

    Attributes:
        images: what tells them apart, by which runs are paired: names, or places in the test split.
    """

    samples: int
    images: tuple[str, ...] | tuple[int, ...]
    statistic: Statistic


def load(folder: Path, run: Record, metric: str) -> Scores | None:
    """A metric of a run by image; None where its images are not kept.

    Raises:
        RecordError: the file is not the record's, or says something else than the record does.
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
    if found.samples != measured.samples:
        raise RecordError(f"{path}: {found.samples} images, the record has {measured.samples}")
    value = float(found.statistic(np.ones((1, found.samples)))[0])
    if abs(value - measured.value) > ROUNDING:
        raise RecordError(f"{path}: {metric} {value:.4f}, the record has {measured.value:.4f}")
    return found


def missing(run: Record, metric: str) -> str:
    """Why `load` found nothing."""
    if metric not in FILES:
        return f"{metric} is not kept by image"
    return f"{run_name(run)} has no {FILES[metric]}"


def read(path: Path, metric: str) -> Scores:
    """A metric from a file of FILES, without asking a record."""
    if path.name == "detections.npz":
        return _detections(path, "11-point" if metric == "map" else "all-point")
    if path.name == CORRECT:
        with np.load(path) as file:
            right, places = file[metric], tuple(file["samples"].tolist())
        return Scores(len(places), places, bootstrap_metrics.accuracy(right))
    return _confusion(path, metric)


def _detections(path: Path, rule: bootstrap_metrics.Rule) -> Scores:
    # `results` is imported by `downstream`, and only this needs it the other way round: the rule
    # that decides which detections are right is not to be written twice.
    from core.metrics import detection

    kept = detection.load(path)
    parts: list[list[tuple[int, NDArray, NDArray]]] = [[] for _ in kept.classes]
    objects = np.zeros((len(kept.images), len(kept.classes)), np.int64)
    for image, (found, there) in enumerate(zip(kept.found, kept.there, strict=True)):
        np.add.at(objects[image], there.labels[~there.difficult], 1)
        for label in np.unique(found.labels):
            scores, right = detection.verdicts(found, there, label, iou=0.5)
            parts[label].append((image, scores, right))
    rankings = [
        bootstrap_metrics.Ranking(
            images=np.repeat([it[0] for it in of_class], [len(it[1]) for it in of_class]),
            scores=np.concatenate([np.zeros(0), *(it[1] for it in of_class)]),
            right=np.concatenate([np.zeros(0, np.int64), *(it[2] for it in of_class)]),
        )
        for of_class in parts
    ]
    statistic = bootstrap_metrics.mean_average_precision(rankings, objects, rule)
    return Scores(len(kept.images), kept.images, statistic)


def _confusion(path: Path, metric: str) -> Scores:
    # downstream.confusion.load would import torch, which takes seconds
    with np.load(path) as file:
        classes, images = len(file["classes"]), tuple(file["images"].tolist())
        places, pixels, ends = file["places"], file["pixels"], file["ends"]
    image = np.repeat(np.arange(len(images)), np.diff(ends, prepend=0))
    truth, guess = np.divmod(places, classes)
    hits, truths, guesses = (np.zeros((len(images), classes), np.int64) for _ in range(3))
    np.add.at(truths, (image, truth), pixels)
    np.add.at(guesses, (image, guess), pixels)
    right = truth == guess
    np.add.at(hits, (image[right], truth[right]), pixels[right])
    if metric.startswith("pix_acc"):
        return Scores(len(images), images, bootstrap_metrics.pixel_accuracy(hits, truths))
    return Scores(len(images), images, bootstrap_metrics.mean_iou(hits, truths, guesses))
