"""Readers of classification datasets, one for each layout in which they are published."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from pretrain.images.image_set import SUFFIXES, ImageSet, from_files, missing


def read_checked(data: Config, path: Path) -> bytes:
    """A file's bytes, after checking its MD5 if the config pins one.

    Raises:
        InputError: the file is missing or has another MD5.
    """
    if not path.is_file():
        raise missing(path, "no such file", data)
    content = path.read_bytes()
    expected = data.get("md5", {}).get(path.name)
    if expected and (found := hashlib.md5(content).hexdigest()) != expected:
        raise missing(path, f"MD5 {found}, expected {expected}", data)
    return content


def read_folder(data: Config, root: Path, split: str) -> ImageSet:
    """ImageNet's layout: <split>/<class>/<file>."""
    folder = root / split
    if not folder.is_dir():
        raise missing(folder, "no such folder", data)
    classes = class_order(entry.name for entry in folder.iterdir() if entry.is_dir())
    files, labels = [], []
    for label, name in enumerate(classes):
        inside = sorted(p.name for p in (folder / name).iterdir() if p.suffix.lower() in SUFFIXES)
        files += [f"{split}/{name}/{file}" for file in inside]
        labels += [label] * len(inside)
    return from_files(data, split, classes, root, files, labels)


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class folders in the order of their labels, as in timm: sorted by name, numbers by value.

    ImageNet-V2's folders are numbers: sorted by name, 10 would come before 2.
    """
    ordered = sorted(names)
    return tuple(sorted(ordered, key=int) if all(map(str.isdecimal, ordered)) else ordered)


def _read_places365(data: Config, root: Path, split: str) -> ImageSet:
    """Places365's layout: categories_places365.txt, and <split>.txt with a path and a label a line.

    The config's `folders` and `listings` give the names in other editions.
    """
    categories = root / "categories_places365.txt"
    listing = root / data.get("listings", {}).get(split, f"{split}.txt")
    folder = data.get("folders", {}).get(split, split)
    for path in (categories, listing):
        read_checked(data, path)
    rows = [line.split() for line in categories.read_text().splitlines() if line.strip()]
    order = sorted(rows, key=lambda row: int(row[1]))
    pairs = [line.rsplit(maxsplit=1) for line in listing.read_text().splitlines() if line.strip()]
    # paths are relative to the split's folder, in some editions with a leading slash
    files = [f"{folder}/{path.lstrip('/')}" for path, _ in pairs]
    for file in (files[0], files[-1]) if files else ():
        if not (root / file).is_file():
            raise missing(root / file, f"listed in {listing.name}, but missing", data)
    labels = [int(label) for _, label in pairs]
    return from_files(data, split, tuple(row[0] for row in order), root, files, labels)


def _read_tiny_imagenet(data: Config, root: Path, split: str) -> ImageSet:
    """Tiny-ImageNet's layout: train/<wnid>/images and val/val_annotations.txt.

    The config's `wnids` select a range of classes.
    """
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
    return from_files(data, split, classes, root, files, labels)


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that only makes arrays and plain values, and refuses to call anything else."""

    ALLOWED = ("_reconstruct", "ndarray", "dtype", "encode")

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] in ("numpy", "_codecs") and name in self.ALLOWED:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"it calls {module}.{name}, which no CIFAR file needs")


def _read_pickle(data: Config, path: Path) -> dict[bytes, Any]:
    content = read_checked(data, path)
    try:
        return _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # damaged bytes can raise anything
        raise missing(path, f"not a CIFAR batch ({error})", data) from error


def _read_cifar(data: Config, root: Path, split: str) -> ImageSet:
    """CIFAR's Python version: pickled batches, planar RGB, 32 x 32."""
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
        raise missing(root, f"{split} has {len(pixels)} images, {len(labels)} labels", data)
    return ImageSet(data.name, data.mirrors, split, classes, labels, root, pixels=pixels)


def _read_mat(data: Config, path: Path) -> dict[str, Any]:
    """A MATLAB 5 file, its arrays squeezed."""
    from scipy.io import loadmat

    content = read_checked(data, path)
    try:
        return loadmat(io.BytesIO(content), squeeze_me=True)
    except Exception as error:  # damaged bytes can raise anything
        raise missing(path, f"not a .mat file ({error})", data) from error


def _read_flowers(data: Config, root: Path, split: str) -> ImageSet:
    """Flowers-102's layout: jpg/image_<number>.jpg, imagelabels.mat and setid.mat.

    The config's `parts` name the lists of setid.mat that make up a split.
    """
    ids = _read_mat(data, root / "setid.mat")
    all_labels = _read_mat(data, root / "imagelabels.mat")
    try:
        numbers = np.concatenate([np.atleast_1d(ids[part]) for part in data.parts[split]])
        labels = np.asarray(all_labels["labels"], np.int64)[numbers.astype(np.int64) - 1] - 1
    except (KeyError, IndexError, ValueError) as error:
        problem = f"imagelabels.mat and setid.mat do not match ({error!r})"
        raise missing(root, problem, data) from error
    files = [f"jpg/image_{number:05d}.jpg" for number in numbers]
    require_files(data, root, files)
    names = tuple(f"flower {k + 1}" for k in range(data.classes))
    return from_files(data, split, names, root, files, labels)


def _read_cars(data: Config, root: Path, split: str) -> ImageSet:
    """Stanford Cars' layout: cars_<split>/<file>, and the lists of its devkit.

    The config's `listings` are the possible paths of a list: the test labels were published after
    the devkit, and can be inside or beside it.
    """
    paths = [root / path for path in data.listings[split]]
    listing = next((path for path in paths if path.is_file()), paths[0])
    annotations = _read_mat(data, listing)
    meta = _read_mat(data, root / "devkit/cars_meta.mat")
    try:
        rows = np.atleast_1d(annotations["annotations"])
        files = [f"cars_{split}/{name}" for name in rows["fname"]]
        labels = rows["class"].astype(np.int64) - 1
        names = tuple(map(str, meta["class_names"]))
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise missing(listing, f"not the annotations of {split} ({error!r})", data) from error
    require_files(data, root, files)
    return from_files(data, split, names, root, files, labels)


def _read_inaturalist(data: Config, root: Path, split: str) -> ImageSet:
    """The layout of iNaturalist's competitions: annotations in COCO's JSON format."""
    listing = root / data.listings[split]
    content = read_checked(data, listing)
    try:
        coco = json.loads(content)
        categories = sorted(coco["categories"], key=lambda row: row["id"])
        label_of = {row["id"]: label for label, row in enumerate(categories)}
        file_of = {row["id"]: row["file_name"] for row in coco["images"]}
        files = [file_of[row["image_id"]] for row in coco["annotations"]]
        labels = [label_of[row["category_id"]] for row in coco["annotations"]]
        names = tuple(str(row["name"]) for row in categories)
    except (KeyError, TypeError, ValueError) as error:
        raise missing(listing, f"not the annotations of {split} ({error!r})", data) from error
    require_files(data, root, [files[0], files[-1]] if files else [])
    return from_files(data, split, names, root, files, labels)


def require_files(data: Config, root: Path, files: Iterable[str]) -> None:
    """Raises InputError if files are missing: the first one, and how many more."""
    absent = [file for file in files if not (root / file).is_file()]
    if absent:
        count = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        raise missing(root / absent[0], f"listed, but missing{count}", data)


READERS: dict[str, Callable[[Config, Path, str], ImageSet]] = {
    "folder": read_folder,
    "places365": _read_places365,
    "tiny-imagenet": _read_tiny_imagenet,
    "cifar": _read_cifar,
    "flowers102": _read_flowers,
    "stanford-cars": _read_cars,
    "inaturalist": _read_inaturalist,
}
