"""Confusion matrices of a segmenter's test, picture by picture, and what follows from them.

Pure functions, so that pixel accuracy and mean IoU can be computed again from what a run has kept,
for any choice of pictures: a bootstrap's, for example.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.files import write_atomically

Integers = NDArray[np.integer]


@dataclass(frozen=True)
class Cells:
    """A confusion matrix's cells that are not 0: truth x classes + guess, and pixels."""

    places: Integers
    pixels: Integers


def count(truth: Tensor, guess: Tensor, classes: int, ignored: int = 255) -> Cells:
    """The confusion of one picture, from labels [H, W] of both kinds; `ignored` ones are left out.

    Raises:
        ValueError: a label is no class.
    """
    labelled = truth != ignored
    truth, guess = truth[labelled].long(), guess[labelled].long()
    if truth.numel() and not 0 <= int(truth.min()) <= int(truth.max()) < classes:
        raise ValueError(f"labels {int(truth.min())} to {int(truth.max())} of {classes} classes")
    pixels = torch.bincount(truth * classes + guess, minlength=classes**2).cpu().numpy()
    places = np.flatnonzero(pixels)
    return Cells(places.astype(np.int32), pixels[places].astype(np.int64))


def from_confusion(confusion: Integers) -> dict[str, float]:
    """Pixel accuracy and mean IoU in percent of a confusion matrix [truth, guess].

    The mean is over the classes that occur among truths or guesses. A matrix without a pixel gives
    0.
    """
    hits = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    occurs = union > 0
    if not occurs.any():
        return {"pix_acc": 0.0, "miou": 0.0}
    return {
        "pix_acc": 100 * float(hits.sum() / confusion.sum()),
        "miou": 100 * float((hits[occurs] / union[occurs]).mean()),
    }


@dataclass(frozen=True)
class Kept:
    """A segmenter's test, picture by picture."""

    classes: tuple[str, ...]
    images: tuple[str, ...]
    cells: tuple[Cells, ...]

    def total(self, pictures: Sequence[int] | None = None) -> Integers:
        """The confusion [classes, classes] of all pictures, or of those chosen, with repeats."""
        chosen = range(len(self.cells)) if pictures is None else pictures
        size = len(self.classes)
        sums = np.zeros(size**2, np.int64)
        for index in chosen:
            sums[self.cells[index].places] += self.cells[index].pixels
        return sums.reshape(size, size)


def save(path: Path, kept: Kept) -> None:
    """Writes a compressed .npz, whole or not at all.

    Its arrays: `classes`, `images`; and the cells that are not 0 of all matrices, those of picture
    i from `ends[i - 1]` to `ends[i]`: `places` (truth x classes + guess) and `pixels`.
    """
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        classes=np.array(kept.classes),
        images=np.array(kept.images),
        places=np.concatenate([c.places for c in kept.cells]),
        pixels=np.concatenate([c.pixels for c in kept.cells]),
        ends=np.cumsum([len(c.places) for c in kept.cells]),
    )
    write_atomically(path, buffer.getvalue())


def load(path: Path) -> Kept:
    """What `save` wrote."""
    with np.load(path) as file:
        ends = file["ends"][:-1]
        columns = [np.split(file[key], ends) for key in ("places", "pixels")]
        return Kept(
            classes=tuple(file["classes"].tolist()),
            images=tuple(file["images"].tolist()),
            cells=tuple(Cells(*parts) for parts in zip(*columns, strict=True)),
        )
