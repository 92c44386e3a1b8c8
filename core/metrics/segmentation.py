"""Pixel accuracy and mean IoU, and the file of each image's confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.files import write_npz
from core.metrics.statistic import Floats, Statistic, mean_over_classes, ratio

Integers = NDArray[np.integer]


@dataclass(frozen=True)
class Confusion:
    """One image's confusion matrix: the cells that are not 0.

    Attributes:
        cells: true class x classes + predicted class.
        pixels: of each cell.
    """

    cells: Integers
    pixels: Integers


def count(truth: Integers, prediction: Integers, classes: int, unlabelled: int = 255) -> Confusion:
    """The confusion of one image's label maps [H, W]; pixels whose truth is `unlabelled` are out.

    Raises:
        ValueError: a true label is no class.
    """
    labelled = truth != unlabelled
    truth, prediction = (labels[labelled].astype(np.int64) for labels in (truth, prediction))
    if truth.size and not 0 <= truth.min() <= truth.max() < classes:
        raise ValueError(
            f"true labels {truth.min()} to {truth.max()}, expected 0 to {classes - 1}, or "
            f"{unlabelled} for unlabelled pixels: does the dataset's config name all classes?"
        )
    pixels = np.bincount(truth * classes + prediction, minlength=classes**2)
    cells = np.flatnonzero(pixels)
    return Confusion(cells.astype(np.int32), pixels[cells])


def pixel_accuracy(hits: Integers, truths: Integers) -> Statistic:
    """The share of labelled pixels that are predicted correctly, in percent; 0 if there is none.

    Args:
        hits, truths: correct pixels and labelled pixels of each image and true class [N, C].
    """
    correct, labelled = hits.sum(axis=1), truths.sum(axis=1)
    return lambda weights: 100 * ratio(weights @ correct, weights @ labelled)


def mean_iou(hits: Integers, truths: Integers, predictions: Integers) -> Statistic:
    """The mean IoU, in percent, of the classes that occur among truths or predictions.

    Args:
        hits, truths, predictions: pixels of each image and class [N, C]: those where truth and
            prediction are the class, those where the truth is, those where the prediction is.
    """
    unions = truths + predictions - hits

    def statistic(weights: Floats) -> Floats:
        union = weights @ unions
        return 100 * mean_over_classes(ratio(weights @ hits, union), union > 0)

    return statistic


@dataclass(frozen=True)
class SegmentationResults:
    """A segmenter's test: the classes' names, and each image's name and confusion."""

    classes: tuple[str, ...]
    images: tuple[str, ...]
    confusions: tuple[Confusion, ...]

    def statistics(self) -> dict[str, Statistic]:
        """Pixel accuracy and mean IoU."""
        image = np.repeat(np.arange(len(self.images)), [len(c.cells) for c in self.confusions])
        cells = np.concatenate([c.cells for c in self.confusions])
        pixels = np.concatenate([c.pixels for c in self.confusions])
        truth, prediction = np.divmod(cells, len(self.classes))
        shape = len(self.images), len(self.classes)
        hits, truths, predictions = (np.zeros(shape, np.int64) for _ in range(3))
        np.add.at(hits, (image, truth), pixels * (truth == prediction))
        np.add.at(truths, (image, truth), pixels)
        np.add.at(predictions, (image, prediction), pixels)
        return {
            "pix_acc": pixel_accuracy(hits, truths),
            "miou": mean_iou(hits, truths, predictions),
        }


def save(path: Path, results: SegmentationResults) -> None:
    """Writes a compressed .npz, whole or not at all.

    Its arrays: `classes`, `images`; and the cells of all confusions, those of image i from
    `ends[i - 1]` to `ends[i]`: `places` (true class x classes + predicted class) and `pixels`.
    """
    write_npz(
        path,
        classes=np.array(results.classes),
        images=np.array(results.images),
        places=np.concatenate([c.cells for c in results.confusions]),
        pixels=np.concatenate([c.pixels for c in results.confusions]),
        ends=np.cumsum([len(c.cells) for c in results.confusions]),
    )


def load(path: Path) -> SegmentationResults:
    """What `save` wrote."""
    with np.load(path) as file:
        ends = file["ends"][:-1]
        columns = [np.split(file[key], ends) for key in ("places", "pixels")]
        return SegmentationResults(
            classes=tuple(file["classes"].tolist()),
            images=tuple(file["images"].tolist()),
            confusions=tuple(Confusion(*parts) for parts in zip(*columns, strict=True)),
        )
