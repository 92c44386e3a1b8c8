"""`places365_standard/{train,val}/<category>/*.jpg`, with lists of files and categories."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from demo.scenes import PLACES, stuff_and_things
from demo.seeding import generator
from demo.sizes import Sizes
from demo.tasks import Task

NAME = "places365_standard"
VERSION = 2  # increase if the same seed renders other bytes
_SIDES = (96, 129)  # pixels, without the upper end
_JPEG_QUALITY = 90


def tasks(sizes: Sizes) -> list[Task]:
    """All images, category by category."""
    per_category = {
        "train": sizes.places_train_per_category,
        "val": sizes.places_val_per_category,
    }
    return [
        Task(NAME, split, index, category=category)
        for split, count in per_category.items()
        for category in PLACES
        for index in range(count)
    ]


def write(task: Task, root: Path, seed: int) -> Task:
    """Renders one image into its file below `root`."""
    rng = generator(seed, NAME, task.split, task.category, task.index)
    height, width = (int(side) for side in rng.integers(*_SIDES, size=2))
    image, _ = stuff_and_things(rng, PLACES[task.category], height, width)
    folder = root / NAME / task.split / task.category
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / _file_name(task), quality=_JPEG_QUALITY)
    return task


def _file_name(task: Task) -> str:
    number = f"{task.index + 1:08d}.jpg"
    return number if task.split == "train" else f"Places365_val_{number}"


def finish(root: Path, sizes: Sizes, records: list[Task]) -> dict[str, int]:
    """Writes the lists of files and of categories; returns image counts."""
    folder = root / NAME
    labels = {category: label for label, category in enumerate(PLACES)}
    lines: dict[str, list[str]] = {"train": [], "val": []}
    for task in records:
        path = f"{task.category}/{_file_name(task)}"
        lines[task.split].append(f"{path} {labels[task.category]}\n")
    for split, listed in lines.items():
        (folder / f"{split}.txt").write_text("".join(listed))
    categories = (f"/{name[0]}/{name} {label}\n" for name, label in labels.items())
    (folder / "categories_places365.txt").write_text("".join(categories))
    return {split: len(listed) for split, listed in lines.items()}
