"""`imagenet/{train,val}/<wnid>/<wnid>_<n>.JPEG`: one object per image, of 40 classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from demo.backgrounds import background
from demo.objects import paint_object, paint_occluder, random_placement
from demo.painting import photograph
from demo.seeding import generator
from demo.sizes import Sizes
from demo.tasks import Task
from demo.taxonomy import IMAGENET, ObjectClass

NAME = "imagenet"
VERSION = 2  # increase if the same seed renders other bytes
_SIDES = (72, 141)  # pixels, without the upper end
_JPEG_QUALITY = 90


def object_image(
    rng: np.random.Generator, looks: ObjectClass, height: int, width: int
) -> np.ndarray:
    """An image of one dominant object: uint8 [height, width, 3]."""
    image = background(rng, height, width)
    side = min(height, width)
    placement = random_placement(
        rng,
        x=(0.36 * width, 0.64 * width),
        y=(0.36 * height, 0.64 * height),
        diameter=(0.6 * side, 1.0 * side),
    )
    paint_object(image, looks, placement, rng)
    if rng.random() < 0.35:
        paint_occluder(image, placement, rng, reach=rng.uniform(0.2, 0.6))
    return photograph(image, rng)


def tasks(sizes: Sizes) -> list[Task]:
    """All images, class by class."""
    per_class = {
        "train": sizes.imagenet_train_per_class,
        "val": sizes.imagenet_val_per_class,
    }
    return [
        Task(NAME, split, index, category=wnid)
        for split, count in per_class.items()
        for wnid in IMAGENET
        for index in range(count)
    ]


def write(task: Task, root: Path, seed: int) -> None:
    """Renders one image into its file below `root`."""
    rng = generator(seed, NAME, task.split, task.category, task.index)
    height, width = (int(side) for side in rng.integers(*_SIDES, size=2))
    image = object_image(rng, IMAGENET[task.category], height, width)
    folder = root / NAME / task.split / task.category
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{task.category}_{task.index + 1}.JPEG"
    Image.fromarray(image).save(path, quality=_JPEG_QUALITY)


def finish(root: Path, sizes: Sizes, records: list[None]) -> dict[str, int]:
    """Writes the class names as in Kaggle's copy of ImageNet; returns image counts."""
    lines = [f"{wnid} {looks.texture} {looks.shape}\n" for wnid, looks in IMAGENET.items()]
    (root / NAME / "LOC_synset_mapping.txt").write_text("".join(lines))
    return {
        "train": sizes.imagenet_train_per_class * len(IMAGENET),
        "val": sizes.imagenet_val_per_class * len(IMAGENET),
    }
