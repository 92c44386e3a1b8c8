"""`cifar-10-batches-py`: 32 x 32 images of one object, pickled like the official batches."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from demo.imagenet import object_image
from demo.seeding import generator
from demo.sizes import Sizes
from demo.tasks import Task
from demo.taxonomy import CIFAR10

NAME = "cifar-10-batches-py"
VERSION = 2  # increase if the same seed renders other bytes
SIDE = 32
_BATCHES = 5
_PICKLE_PROTOCOL = 2  # that of the official files, written by Python 2


def tasks(sizes: Sizes) -> list[Task]:
    """All images, batch by batch, with labels in turn, so that every batch is balanced."""
    batches = {f"data_batch_{number}": sizes.cifar_per_batch for number in range(1, _BATCHES + 1)}
    batches["test_batch"] = sizes.cifar_test
    labels = list(CIFAR10)
    return [
        Task(NAME, batch, index, category=labels[index % len(labels)])
        for batch, count in batches.items()
        for index in range(count)
    ]


def write(task: Task, root: Path, seed: int) -> tuple[Task, np.ndarray]:
    """Renders one image as planar RGB, uint8 [3072], for `finish` to write."""
    rng = generator(seed, NAME, task.split, task.index)
    large = object_image(rng, CIFAR10[task.category], 2 * SIDE, 2 * SIDE)
    small = cv2.resize(large, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return task, small.transpose(2, 0, 1).reshape(-1)


def _dump(content: dict[bytes, Any], path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=_PICKLE_PROTOCOL))


def finish(root: Path, sizes: Sizes, records: list[tuple[Task, np.ndarray]]) -> dict[str, int]:
    """Pickles the batches and their metadata; returns image counts."""
    folder = root / NAME
    folder.mkdir(parents=True)
    labels = list(CIFAR10)
    batches: dict[str, list[tuple[Task, np.ndarray]]] = {}
    for record in records:
        batches.setdefault(record[0].split, []).append(record)
    for batch, members in batches.items():
        number = batch.removeprefix("data_batch_")
        title = "testing batch 1 of 1" if batch == "test_batch" else f"training batch {number} of 5"
        content = {
            b"batch_label": title.encode(),
            b"labels": [labels.index(task.category) for task, _ in members],
            b"data": np.stack([pixels for _, pixels in members]),
            b"filenames": [
                f"{task.category}_{batch[0]}{number[-1]}_{task.index:06d}.png".encode()
                for task, _ in members
            ],
        }
        _dump(content, folder / batch)
    meta = {
        b"num_cases_per_batch": sizes.cifar_per_batch,
        b"label_names": [label.encode() for label in labels],
        b"num_vis": 3 * SIDE * SIDE,
    }
    _dump(meta, folder / "batches.meta")
    return {batch: len(members) for batch, members in batches.items()}
