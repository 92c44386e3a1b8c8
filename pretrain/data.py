"""Readers of classification sets, each in the layout in which its authors publish it."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from PIL import Image

from pretrain import decode, recipe, streams
from pretrain.errors import InputError
from results import record

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
    """SHA-256 over each sample's label and its file's name and size, or its pixels."""
    digest = hashlib.sha256()
    for images in sets:
        digest.update(f"{images.split} {len(images)} {images.classes}\n".encode())
        digest.update(images.labels.tobytes())
        if images.pixels is not None:
            digest.update(images.pixels.tobytes())
        for name in images.files:
            digest.update(f"{name} {(images.root / name).stat().st_size}\n".encode())
    return digest.hexdigest()


def config(name: str) -> Config:
    """A file of configs/data, with its own name in it."""
    found = recipe.read("data", name)
    found.name = name
    return found


def missing(path: Path, wanted: str, data: Config) -> InputError:
    """The error for data that are not there, or only in part."""
    return InputError(f"{data.name}: {path}: {wanted}. To get it: {data.get_it}")


def load(name: str, data_root: Path, role: str) -> ImageSet:
    """One split of a classification set.

    Args:
        name: a file of configs/data.
        data_root: the folder that holds all data sets (DATA=).
        role: "train", or "test" for the split that results are reported on, which for ImageNet
            and Places365 is their validation set.

    Raises:
        InputError: the set is missing, does not have as many samples as its config pins, or has no
            such split.
    """
    data = config(name)
    if data.layout not in READERS:
        raise InputError(
            f"{name} has no class per image (layout {data.layout}): not a set to classify"
        )
    root, split = data_root / data.root, data.splits[role]
    if split is None:
        raise InputError(f"{name} is for evaluation only: it has no {role} images")
    if not root.is_dir():
        raise missing(root, "no such folder", data)
    images = READERS[data.layout](data, root, split)
    if len(images) != data.sizes[split] or len(images.classes) != data.classes:
        raise missing(
            root,
            f"{split} has {len(images)} samples of {len(images.classes)} classes, expected "
            f"{data.sizes[split]} of {data.classes}",
            data,
        )
    if images.labels.min() < 0 or images.labels.max() >= data.classes:
        found = f"{images.labels.min()} to {images.labels.max()}"
        raise missing(root, f"{split} has labels {found}, expected 0 to {data.classes - 1}", data)
    return images


def _read_folder(data: Config, root: Path, split: str) -> ImageSet:
    """ImageNet's: <split>/<class>/<file>."""
    folder = root / split
    if not folder.is_dir():
        raise missing(folder, "no such folder", data)
    classes = class_order(entry.name for entry in folder.iterdir() if entry.is_dir())
    files, labels = [], []
    for label, name in enumerate(classes):
        inside = sorted(p.name for p in (folder / name).iterdir() if p.suffix.lower() in SUFFIXES)
        files += [f"{split}/{name}/{file}" for file in inside]
        labels += [label] * len(inside)
    return _from_files(data, split, classes, root, files, labels)


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class folders in the order of their indices: by name, and numbers by their value, as in timm.

    ImageNet-V2's folders are named by index: in the order of their names 10 would come before 2.
    """
    found = sorted(names)
    return tuple(sorted(found, key=int) if all(map(str.isdecimal, found)) else found)


def load_folder(folder: Path) -> ImageSet:
    """Any folder in ImageNet's layout: a folder of images for each class.

    Raises:
        InputError: no such folder, or no images in it.
    """
    whole = folder.resolve()
    wanted = "a folder with a folder of images (.jpeg, .jpg, .png) for each class"
    name = f"images-{whole.name}"
    images = _read_folder(
        Config(dict(name=name, mirrors=name, get_it=wanted)), whole.parent, whole.name
    )
    if not len(images):
        raise InputError(f"{folder}: no images: expected {wanted}")
    return images


def load_unlabelled(name: str, data_root: Path) -> ImageSet:
    """The test images whose labels are not public, in the order of their list; all labels are -1.

    The list may be absent: then it is all images of the folder, in the order of their names.

    Raises:
        InputError: the set has no such images, they are missing, or not as many as its config pins.
    """
    data = config(name)
    if not data.get("unlabelled"):
        raise InputError(f"{name} has no images without public labels to write predictions for")
    about, root = data.unlabelled, data_root / data.root
    folder, listing = root / about.folder, root / about.listing
    if not folder.is_dir():
        raise missing(folder, "no such folder", data)
    if listing.is_file():
        names = listing.read_text().split()
    else:
        names = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if len(set(names)) != about.size or len(names) != about.size:
        found = f"{len(names)} images, {len(set(names))} different ones"
        raise missing(folder, f"{found}, expected {about.size}", data)
    files = [f"{about.folder}/{name}" for name in names]
    return _from_files(data, about.folder, (), root, files, [-1] * len(files))


def submission(images: ImageSet, top: np.ndarray) -> str:
    """Predictions as Places365's evaluation server takes them (section 2.2 of its places_devkit).

    One line per image, in the order of the names: the file's name, without a folder, and exactly
    five category numbers, 0 to 364 as in categories_places365.txt, by descending confidence.

    Args:
        top: int [N, 5].
    """
    rows = zip(images.files, top, strict=True)
    return "".join(f"{Path(file).name} {' '.join(map(str, row))}\n" for file, row in rows)


def answers(images: ImageSet) -> np.ndarray:
    """Every right class of each image: its label, or ImageNet-ReaL's, found by the file's number.

    Returns:
        int64 [N, A], padded with -1: a row of -1 alone is an image that is not counted.

    Raises:
        InputError: the set's config names a file of labels that is missing, or of other images.
    """
    data = config(images.name)
    if "labels_file" not in data:
        return images.labels[:, None]
    path = images.root / data.labels_file
    if not path.is_file():
        raise missing(path, "no such file", data)
    size = data.sizes[images.split]
    try:
        labels = json.loads(path.read_bytes())
        numbers = [int(re.findall(r"ILSVRC2012_val_(\d{8})\.", file)[0]) for file in images.files]
        right = [np.asarray(labels[number - 1], np.int64) for number in numbers]
        complete = len(labels) == size and min(numbers) >= 1
    except (ValueError, TypeError, IndexError, KeyError):
        complete = False
    if not complete:
        wanted = f"a list for each image, ILSVRC2012_val_00000001.JPEG to {size:08}"
        raise missing(path, f"not the labels of {images.split}: expected {wanted}", data)
    found = np.full((len(right), max(map(len, right))), -1, np.int64)
    for row, classes in zip(found, right, strict=True):
        row[: len(classes)] = classes
    return found


def _read_places365(data: Config, root: Path, split: str) -> ImageSet:
    """Places365's: categories_places365.txt, and <split>.txt with a path and a label a line."""
    categories = root / "categories_places365.txt"
    listing = root / f"{split}.txt"
    for path in (categories, listing):
        if not path.is_file():
            raise missing(path, "no such file", data)
    rows = [line.split() for line in categories.read_text().splitlines() if line.strip()]
    order = sorted(rows, key=lambda row: int(row[1]))
    pairs = [line.rsplit(maxsplit=1) for line in listing.read_text().splitlines() if line.strip()]
    # the lists name their files from the split's folder, in some editions with a leading slash
    files = [f"{split}/{path.lstrip('/')}" for path, _ in pairs]
    for file in (files[0], files[-1]) if files else ():
        if not (root / file).is_file():
            raise missing(root / file, f"named in {listing.name}, but not there", data)
    labels = [int(label) for _, label in pairs]
    return _from_files(data, split, tuple(row[0] for row in order), root, files, labels)


def _read_tiny_imagenet(data: Config, root: Path, split: str) -> ImageSet:
    """Tiny-ImageNet's: train/<wnid>/images, val/val_annotations.txt; `wnids` are the part used."""
    first, last = data.wnids
    listing = root / "wnids.txt"
    if not listing.is_file():
        raise missing(listing, "no such file", data)
    classes = tuple(listing.read_text().split()[first:last])
    files: list[str] = []
    labels: list[int] = []
    if split == "train":
        for label, wnid in enumerate(classes):
            folder = root / "train" / wnid / "images"
            if not folder.is_dir():
                raise missing(folder, "no such folder", data)
            inside = sorted(path.name for path in folder.iterdir())
            files += [f"train/{wnid}/images/{name}" for name in inside]
            labels += [label] * len(inside)
    else:
        index = {wnid: label for label, wnid in enumerate(classes)}
        annotations = root / "val" / "val_annotations.txt"
        if not annotations.is_file():
            raise missing(annotations, "no such file", data)
        for line in annotations.read_text().splitlines():
            name, wnid = line.split("\t")[:2]
            if wnid in index:
                files.append(f"val/images/{name}")
                labels.append(index[wnid])
    return _from_files(data, split, classes, root, files, labels)


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that makes arrays and plain values, and refuses to call anything else."""

    ALLOWED = ("_reconstruct", "ndarray", "dtype", "encode")

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] in ("numpy", "_codecs") and name in self.ALLOWED:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR file needs")


def _read_pickle(data: Config, path: Path) -> dict[bytes, Any]:
    if not path.is_file():
        raise missing(path, "no such file", data)
    content = path.read_bytes()
    expected = data.get("md5", {}).get(path.name)
    if expected and (found := hashlib.md5(content).hexdigest()) != expected:
        raise missing(path, f"MD5 {found}, expected {expected}", data)
    try:
        return _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # what damaged bytes raise depends on where the damage is
        raise missing(path, f"not a CIFAR batch ({error})", data) from error


def _read_cifar(data: Config, root: Path, split: str) -> ImageSet:
    """CIFAR's python version: pickled batches, planar RGB, 32 x 32."""
    batches = [_read_pickle(data, root / name) for name in data.batches[split]]
    meta = _read_pickle(data, root / data.meta)
    label_key, names_key = data.label_key.encode(), data.names_key.encode()
    try:
        planar = np.concatenate([np.asarray(batch[b"data"], np.uint8) for batch in batches])
        pixels = np.ascontiguousarray(planar.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels = np.concatenate([np.asarray(batch[label_key], np.int64) for batch in batches])
        classes = tuple(name.decode() for name in meta[names_key])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise missing(root, f"not CIFAR's batches ({error!r})", data) from error
    if len(pixels) != len(labels):
        raise missing(root, f"{split} has {len(pixels)} pictures, {len(labels)} labels", data)
    return ImageSet(data.name, data.mirrors, split, classes, labels, root, pixels=pixels)


def _from_files(
    data: Config,
    split: str,
    classes: tuple[str, ...],
    root: Path,
    files: list[str],
    labels: list[int],
) -> ImageSet:
    label_array = np.asarray(labels, np.int64)
    return ImageSet(data.name, data.mirrors, split, classes, label_array, root, tuple(files))


READERS: dict[str, Callable[[Config, Path, str], ImageSet]] = {
    "folder": _read_folder,
    "places365": _read_places365,
    "tiny-imagenet": _read_tiny_imagenet,
    "cifar": _read_cifar,
}


def per_class_split(labels: np.ndarray, part: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of a training set cut in two, each class in the same proportion.

    Args:
        labels: [N] of class indices.
        part: of each class, the share that goes to the second part; at least one sample of each
            class that has two or more.

    Returns:
        The indices that stay, and those held out, both sorted.
    """
    rng = streams.generator("split", seed)
    held = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = max(1, round(part * len(members))) if len(members) > 1 else 0
        held.append(members[:count])
    held_out = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def limited(images: ImageSet, limit: int | None, seed: int) -> ImageSet:
    """The set itself, or, for a trial, a random part of it of `limit` samples."""
    if limit is None:
        return images
    if limit < 1:
        raise InputError(f"a limit of {limit} samples: expected 1 or more")
    order = streams.generator("subset", seed).permutation(len(images))
    return images.subset(np.sort(order[:limit]))


def described(digest: str, *sets: ImageSet) -> record.Dataset:
    """What a record says of the sets that its run read."""
    return record.Dataset(
        name=sets[0].name,
        mirrors=sets[0].mirrors,
        fingerprint=digest,
        sizes={images.split: len(images) for images in sets},
        classes=len(sets[0].classes),
    )
