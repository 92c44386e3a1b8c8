"""Which test images a classifier gets right, kept beside its record.

`correct.npz` holds one bool array [S] for each of "top1" and "top5", of the test images that count
and in their order: those that cannot be read are in neither it nor the record's metrics. Its
`samples`, int64 [S], say which they are, by their places in the test split.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from results.record import Metric, write_atomically

CORRECT = "correct.npz"
NAMES = ("top1", "top5")


def save(folder: Path, right: np.ndarray, counted: np.ndarray | None = None) -> Path:
    """Writes a folder's correct.npz, whole or not at all.

    Args:
        right: bool [S, 2], or [S, 1] of top-1 alone.
        counted: int [S], the places in the test split of the samples that count; None if all do.

    Raises:
        ValueError: not as many places as samples.
    """
    samples = np.arange(len(right)) if counted is None else np.asarray(counted)
    if samples.shape != (len(right),):
        raise ValueError(f"{len(right)} samples, their places are {list(samples.shape)}")
    columns = dict(zip(NAMES, right.T, strict=False))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, samples=samples.astype(np.int64), **columns)
    write_atomically(folder / CORRECT, buffer.getvalue())
    return folder / CORRECT


def metrics(right: np.ndarray, split: str, detail: str) -> dict[str, Metric]:
    """Top-1 and top-5 of bool [samples, 2], or top-1 of [samples, 1], as a record has them."""
    return {
        name: Metric(
            value=100 * int(column.sum()) / len(column),
            unit="%",
            split=split,
            samples=len(column),
            detail=detail,
        )
        for name, column in zip(NAMES, right.T, strict=False)
    }
