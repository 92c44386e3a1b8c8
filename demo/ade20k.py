"""`ADEChallengeData2016/{images,annotations}/{training,validation}`: scenes and label maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from demo.scenes import PLACES, stuff_and_things
from demo.seeding import generator
from demo.sizes import Sizes
from demo.tasks import Task
from demo.taxonomy import ADE_STUFF, ADE_THINGS

NAME = "ADEChallengeData2016"
VERSION = 2  # increase if the same seed renders other bytes
_HEIGHT, _WIDTHS = 128, (128, 161)  # pixels; widths exclude the upper end
_JPEG_QUALITY = 90
_PREFIX = {"training": "ADE_train", "validation": "ADE_val"}


@dataclass(frozen=True)
class Record:
    """The share of an image's pixels with each label, [151]."""

    split: str
    shares: np.ndarray


def tasks(sizes: Sizes) -> list[Task]:
    """All images; `write` draws their scene categories."""
    counts = {"training": sizes.ade_training, "validation": sizes.ade_validation}
    return [Task(NAME, split, index) for split, count in counts.items() for index in range(count)]


def write(task: Task, root: Path, seed: int) -> Record:
    """Renders one image and its label map into files below `root`."""
    rng = generator(seed, NAME, task.split, task.index)
    layout = list(PLACES.values())[rng.integers(len(PLACES))]
    image, labels = stuff_and_things(rng, layout, _HEIGHT, int(rng.integers(*_WIDTHS)))
    stem = f"{_PREFIX[task.split]}_{task.index + 1:08d}"
    for child in ("images", "annotations"):
        (root / NAME / child / task.split).mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(
        root / NAME / "images" / task.split / f"{stem}.jpg", quality=_JPEG_QUALITY
    )
    Image.fromarray(labels).save(root / NAME / "annotations" / task.split / f"{stem}.png")
    return Record(task.split, np.bincount(labels.ravel(), minlength=151) / labels.size)


def finish(root: Path, sizes: Sizes, records: list[Record]) -> dict[str, int]:
    """Writes objectInfo150.txt with a row for each label in use; returns image counts."""
    shares = np.stack([record.shares for record in records])
    training = np.array([record.split == "training" for record in records])
    rows = ["Idx\tRatio\tTrain\tVal\tStuff\tName\n"]
    names = {label: name for name, label in (ADE_STUFF | ADE_THINGS).items()}
    for label in sorted(names):
        here = shares[:, label] > 0
        stuff = int(names[label] in ADE_STUFF)
        rows.append(
            f"{label}\t{shares[:, label].mean():.4f}\t{(here & training).sum()}\t"
            f"{(here & ~training).sum()}\t{stuff}\t{names[label]}\n"
        )
    (root / NAME / "objectInfo150.txt").write_text("".join(rows))
    return {"training": int(training.sum()), "validation": int((~training).sum())}
