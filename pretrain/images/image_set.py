"""One split of a classification dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

from core.errors import InputError
from pretrain.images import decode

SUFFIXES = (".jpeg", ".jpg", ".png")


@dataclass(frozen=True)
class ImageSet:
    """One split of a dataset: labels in memory, images in files or, for small sets, in memory.

    Attributes:
        name: the dataset, a file of configs/data.
        mirrors: the dataset of the papers that it stands in for.
        split: the dataset's own name of the split: "train", "val", "test".
        labels: int64 [N], indices into `classes`.
        files: N paths relative to `root`; empty if `pixels` is given.
        pixels: uint8 [N, H, W, 3] in RGB, or None.
    """

    name: str
    mirrors: str
    split: str
    classes: tuple[str, ...]
    labels: np.ndarray
    root: Path
    files: tuple[str, ...] = ()
    pixels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def source(self, index: int) -> decode.Source:
        """An image's encoded bytes or its pixels, for `decode`.

        Raises:
            decode.Unreadable: the file cannot be read.
        """
        if self.pixels is not None:
            return self.pixels[index]
        try:
            return Path(self.path(index)).read_bytes()
        except OSError as error:
            raise decode.Unreadable(error.strerror or type(error).__name__) from error

    def image(self, index: int) -> Image.Image:
        """An image in RGB.

        Raises:
            InputError: the file is missing or not a readable image.
        """
        try:
            return decode.full_image(self.source(index))
        except decode.Unreadable as error:
            raise InputError(f"{self.path(index)}: not a readable image ({error})") from error

    def path(self, index: int) -> str:
        """An image's path; for pixels in memory, the root and its index."""
        return str(self.root / self.files[index]) if self.files else f"{self.root}[{index}]"

    def subset(self, indices: np.ndarray) -> ImageSet:
        """Only these samples, in this order."""
        return replace(
            self,
            labels=self.labels[indices],
            files=tuple(self.files[i] for i in indices) if self.files else (),
            pixels=None if self.pixels is None else self.pixels[indices],
        )


def fingerprint(*sets: ImageSet) -> str:
    """SHA-256 over each sample's label and its file's name and size, or its pixels.

    Raises:
        InputError: a file is missing.
    """
    digest = hashlib.sha256()
    for images in sets:
        digest.update(f"{images.split} {len(images)} {images.classes}\n".encode())
        digest.update(images.labels.tobytes())
        if images.pixels is not None:
            digest.update(images.pixels.tobytes())
        for name in images.files:
            try:
                size = (images.root / name).stat().st_size
            except OSError as error:
                raise InputError(
                    f"{images.root / name}: {error.strerror}; to list all missing files: "
                    f"trickbench data check {images.name}"
                ) from error
            digest.update(f"{name} {size}\n".encode())
    return digest.hexdigest()


def missing(path: Path, problem: str, data: Config) -> InputError:
    """The error for data that are missing, incomplete or damaged."""
    return InputError(f"{data.name}: {path}: {problem}. To get it: {data.get_it}")


def from_files(
    data: Config,
    split: str,
    classes: tuple[str, ...],
    root: Path,
    files: Sequence[str],
    labels: Sequence[int] | np.ndarray,
) -> ImageSet:
    """A split whose images are files below `root`."""
    label_array = np.asarray(labels, np.int64)
    return ImageSet(data.name, data.mirrors, split, classes, label_array, root, tuple(files))
