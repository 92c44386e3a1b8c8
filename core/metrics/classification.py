"""Top-1 and top-5 accuracy, and the file of which test images are classified correctly.

`correct.npz` holds one bool array [N] for each of "top1" and "top5", of the N test images that
count. Its `samples`, int64 [N], are their positions in the test split: images that cannot be read
are neither in the file nor in the record's metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import RunError
from core.files import write_npz
from core.metrics.statistic import Statistic, values
from core.record import Metric
from core.tasks import CORRECT

NAMES = ("top1", "top5")


def accuracy(correct: NDArray[np.bool_]) -> Statistic:
    """The share of images [N] that are classified correctly, in percent."""
    return lambda weights: 100 * (weights @ correct) / weights.sum(axis=1)


@dataclass(frozen=True)
class ClassificationResults:
    """Which images a classifier gets right.

    Attributes:
        images: their positions in the test split.
        correct: bool [N] by metric: of "top1", and of "top5" if it was measured.
    """

    images: tuple[int, ...]
    correct: dict[str, NDArray[np.bool_]]

    def statistics(self) -> dict[str, Statistic]:
        return {name: accuracy(correct) for name, correct in self.correct.items()}


def results(right: np.ndarray, counted: np.ndarray | None = None) -> ClassificationResults:
    """The results of bool [N, 2], top-1 and top-5, or of [N, 1], top-1 alone.

    Args:
        counted: int [N], the positions in the test split of the images that count; None if all do.

    Raises:
        ValueError: not as many positions as images.
    """
    positions = np.arange(len(right)) if counted is None else np.asarray(counted)
    if positions.shape != (len(right),):
        raise ValueError(f"{len(right)} images, but positions of shape {list(positions.shape)}")
    columns = dict(zip(NAMES, right.T, strict=False))
    return ClassificationResults(tuple(positions.tolist()), columns)


def save(folder: Path, right: np.ndarray, counted: np.ndarray | None = None) -> Path:
    """Writes a folder's correct.npz, whole or not at all; the arguments are those of `results`."""
    kept = results(right, counted)
    write_npz(folder / CORRECT.name, samples=np.array(kept.images, np.int64), **kept.correct)
    return folder / CORRECT.name


def load(path: Path) -> ClassificationResults:
    """What `save` wrote."""
    with np.load(path) as file:
        columns = [file[name] for name in NAMES if name in file]
        return results(np.stack(columns, axis=1), file["samples"])


def metrics(right: np.ndarray, split: str, detail: str) -> dict[str, Metric]:
    """Top-1 and top-5 of bool [N, 2], or top-1 of [N, 1], as a record has them."""
    return {
        name: Metric(value=value, unit="%", split=split, samples=len(right), detail=detail)
        for name, value in values(results(right)).items()
    }


def right_answers(top: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which images are classified correctly, top-1 and top-5, of those that count.

    Args:
        top: int [N, 5] of class indices, the best first; -1 for images that could not be read.
        answers: int [N, A] of each image's correct classes, padded with -1; one with none does not
            count. Where several are correct, top-5 is that any of the five is, as in timm.

    Returns:
        bool [S, 2], and the positions [S] of these images.

    Raises:
        RunError: no image counts.
    """
    counted = (top[:, 0] >= 0) & (answers[:, 0] >= 0)
    if not counted.any():
        raise RunError(f"none of the {len(top)} images can be read and has a label")
    right = (top[counted, :, None] == answers[counted, None, :]).any(axis=2)
    return np.stack([right[:, 0], right.any(axis=1)], axis=1), np.flatnonzero(counted)
