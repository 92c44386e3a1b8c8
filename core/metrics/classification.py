"""Which test images a classifier gets right, kept beside its record.

`correct.npz` holds one bool array [S] for each of "top1" and "top5", of the test images that count
and in their order: those that cannot be read are in neither it nor the record's metrics. Its
`samples`, int64 [S], say which they are, by their places in the test split.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from torch import Tensor

from core.errors import RunError
from core.files import write_atomically
from core.record import Metric

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


def top_k_correct(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """For each sample whether its label is among the k largest logits.

    Args:
        logits: [N, K]; labels: [N] of class indices. A k larger than K counts as K.

    Returns:
        booleans [N].
    """
    best = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return (best == labels[:, None]).any(dim=1)


def right_answers(top: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which samples are right, top-1 and top-5, of those that count.

    Returns:
        bool [S, 2], and the places [S] of these samples.

    Args:
        top: int [N, 5] of class indices, the best first; -1 for samples that could not be read.
        answers: int [N, A] of each sample's right classes, padded with -1; one with none does not
            count. Where several are right, top-5 is that any of the five is, as in timm.

    Raises:
        RunError: no sample counts.
    """
    counted = (top[:, 0] >= 0) & (answers[:, 0] >= 0)
    if not counted.any():
        raise RunError(f"none of the {len(top)} images can be read and has a label")
    right = (top[counted, :, None] == answers[counted, None, :]).any(axis=2)
    return np.stack([right[:, 0], right.any(axis=1)], axis=1), np.flatnonzero(counted)
