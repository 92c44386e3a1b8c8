"""The label maps of a few of a segmenter's test images, kept beside its record for a figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.files import write_npz

LABEL_MAPS = "label_maps.npz"
Labels = NDArray[np.integer]  # [H, W]; a number that is no class is not labelled


@dataclass(frozen=True)
class LabelMaps:
    """What is there and what was predicted, image by image.

    Attributes:
        images: their names.
        files: theirs, relative to the root of the dataset.
    """

    classes: tuple[str, ...]
    images: tuple[str, ...]
    files: tuple[str, ...]
    truth: tuple[Labels, ...]
    guess: tuple[Labels, ...]


def save(path: Path, kept: LabelMaps) -> None:
    """Writes a compressed .npz, whole or not at all.

    Its arrays: `classes`, `images`, `files`; and `truth0`, `guess0`, `truth1` ... of the images in
    their order, [H, W] of the smallest unsigned type that holds their labels.
    """
    maps = {
        f"{kind}{i}": labels.astype(np.min_scalar_type(int(labels.max())))
        for kind, of_all in (("truth", kept.truth), ("guess", kept.guess))
        for i, labels in enumerate(of_all)
    }
    words = {name: np.array(getattr(kept, name)) for name in ("classes", "images", "files")}
    write_npz(path, **words, **maps)


def load(path: Path) -> LabelMaps:
    """What `save` wrote."""
    with np.load(path) as file:
        places = range(len(file["images"]))
        return LabelMaps(
            classes=tuple(file["classes"].tolist()),
            images=tuple(file["images"].tolist()),
            files=tuple(file["files"].tolist()),
            truth=tuple(file[f"truth{i}"] for i in places),
            guess=tuple(file[f"guess{i}"] for i in places),
        )
