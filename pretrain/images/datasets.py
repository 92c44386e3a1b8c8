"""Classification datasets by name: their splits, labels and records."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from mmengine.config import Config

from core import configs, record
from core.errors import InputError
from pretrain.images import layouts
from pretrain.images.image_set import SUFFIXES, ImageSet, fingerprint, from_files, missing
from pretrain.images.layouts import READERS, class_order

__all__ = ["READERS", "ImageSet", "class_order", "fingerprint", "missing"]


def load(name: str, data_root: Path, role: str) -> ImageSet:
    """One split of a classification dataset.

    Args:
        name: a file of configs/data.
        data_root: the folder of all datasets (DATA=).
        role: "train", or "test" for the split that results are reported on (the validation split of
            ImageNet and Places365).

    Raises:
        InputError: the dataset is missing, its size is not the one in its config, or it has no such
            split.
    """
    data = configs.config(name)
    if data.layout not in READERS:
        raise InputError(f"{name} is not a classification dataset (layout {data.layout})")
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


def load_folder(folder: Path) -> ImageSet:
    """Any folder in ImageNet's layout: one folder of images per class.

    Raises:
        InputError: the folder is missing or has no images.
    """
    resolved = folder.resolve()
    wanted = "a folder with a folder of images (.jpeg, .jpg, .png) for each class"
    name = f"images-{resolved.name}"
    images = layouts.read_folder(
        Config(dict(name=name, mirrors=name, get_it=wanted)), resolved.parent, resolved.name
    )
    if not len(images):
        raise InputError(f"{folder}: no images: expected {wanted}")
    return images


def load_unlabelled(name: str, data_root: Path) -> ImageSet:
    """The test images without public labels, in the order of their list; all labels are -1.

    Without a list: all images of the folder, sorted by name.

    Raises:
        InputError: the dataset has no such images, or not as many as its config says.
    """
    data = configs.config(name)
    if not data.get("unlabelled"):
        raise InputError(f"{name} has no unlabelled test images to predict")
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
    return from_files(data, about.folder, (), root, files, [-1] * len(files))


def submission(images: ImageSet, top: np.ndarray) -> str:
    """Predictions in the format of Places365's evaluation server (places_devkit, section 2.2).

    One line per image, sorted by name: the file's name without its folder, and five category
    numbers (0 to 364, as in categories_places365.txt) by descending confidence.

    Args:
        top: int [N, 5].
    """
    rows = zip(images.files, top, strict=True)
    return "".join(f"{Path(file).name} {' '.join(map(str, row))}\n" for file, row in rows)


def correct_classes(images: ImageSet) -> np.ndarray:
    """All correct classes of each image: its label, or its list of labels in ImageNet-ReaL.

    Returns:
        int64 [N, C], padded with -1. A row of only -1 is an image that does not count.

    Raises:
        InputError: the labels file of the dataset's config is missing or of other images.
    """
    data = configs.config(images.name)
    if "labels_file" not in data:
        return images.labels[:, None]
    path = images.root / data.labels_file
    if not path.is_file():
        raise missing(path, "no such file", data)
    size = data.sizes[images.split]
    try:
        labels = json.loads(path.read_bytes())
        numbers = [int(re.findall(r"ILSVRC2012_val_(\d{8})\.", file)[0]) for file in images.files]
        correct = [np.asarray(labels[number - 1], np.int64) for number in numbers]
        complete = len(labels) == size and min(numbers) >= 1
    except (ValueError, TypeError, IndexError, KeyError):
        complete = False
    if not complete:
        wanted = f"a list for each image, ILSVRC2012_val_00000001.JPEG to {size:08}"
        raise missing(path, f"not the labels of {images.split}: expected {wanted}", data)
    padded = np.full((len(correct), max(map(len, correct))), -1, np.int64)
    for row, classes in zip(padded, correct, strict=True):
        row[: len(classes)] = classes
    return padded


def described(digest: str, *sets: ImageSet) -> record.Dataset:
    """The record's entry for the splits that a run read, with their fingerprint."""
    return record.Dataset(
        name=sets[0].name,
        mirrors=sets[0].mirrors,
        fingerprint=digest,
        sizes={images.split: len(images) for images in sets},
        classes=len(sets[0].classes),
    )
