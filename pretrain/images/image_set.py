"""One split of a classification set, and what is said of one that is not as it should be."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

from core.errors import InputError
from pretrain.images import decode

SUFFIXES = (".jpeg", ".jpg", ".png")


@dataclass(frozen=True)
class ImageSet:
    """One split of a data set: labels in memory, pictures in files or, if small, in memory too.

    Attributes:
        name: the data set's own name, a file of configs/data.
        mirrors: the set of the papers in whose place it stands.
        split: the set's own word for the part: "train", "val", "test".
        labels: int64 [N], indices into `classes`.
        files: N paths below `root`; empty if `pixels` is given.
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
        """What a picture is decoded from: its file's bytes, or its pixels.

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
        """The picture in RGB, whatever its colours are on the disk.

        Raises:
            InputError: the file is missing or is no readable picture.
        """
        try:
            return decode.whole(self.source(index))
        except decode.Unreadable as error:
            raise InputError(f"{self.path(index)}: not a readable image ({error})") from error

    def path(self, index: int) -> str:
        """Where a picture lies; for pixels in memory, its number."""
        return str(self.root / self.files[index]) if self.files else f"{self.root}[{index}]"

    def subset(self, indices: np.ndarray) -> ImageSet:
        """The same set with only these samples, in this order."""
        return ImageSet(
            self.name,
            self.mirrors,
            self.split,
            self.classes,
            self.labels[indices],
            self.root,
            tuple(self.files[i] for i in indices) if self.files else (),
            None if self.pixels is None else self.pixels[indices],
        )


def fingerprint(*sets: ImageSet) -> str:
    """SHA-256 over each sample's label and its file's name and size, or its pixels.

    Raises:
        InputError: a file is not there.
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
                    f"{images.root / name}: {error.strerror}; to list all such files: trickbench "
                    f"data check {images.name}"
                ) from error
            digest.update(f"{name} {size}\n".encode())
    return digest.hexdigest()


def missing(path: Path, wanted: str, data: Config) -> InputError:
    """The error for data that are not there, or only in part."""
    return InputError(f"{data.name}: {path}: {wanted}. To get it: {data.get_it}")


def from_files(
    data: Config,
    split: str,
    classes: tuple[str, ...],
    root: Path,
    files: Sequence[str],
    labels: Sequence[int] | np.ndarray,
) -> ImageSet:
    """A split whose pictures are files below `root`."""
    label_array = np.asarray(labels, np.int64)
    return ImageSet(data.name, data.mirrors, split, classes, label_array, root, tuple(files))
