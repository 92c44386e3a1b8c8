"""Which test images a classifier gets right, kept beside its record.

`correct.npz` holds one bool array [samples] for each of "top1" and "top5", in the order of the test
images, without those that cannot be read; so do the record's metrics.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from results.record import Metric, write_atomically

CORRECT = "correct.npz"
NAMES = ("top1", "top5")


def save(folder: Path, right: np.ndarray) -> Path:
    """Writes a folder's correct.npz, whole or not at all.

    Args:
        right: bool [samples, 2], or [samples, 1] of top-1 alone.
    """
    buffer = io.BytesIO()
    columns = dict(zip(NAMES, right.T, strict=False))
    np.savez_compressed(buffer, **columns)
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
