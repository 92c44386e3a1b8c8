"""The gap between a classifier's logits for each test image, kept beside its record.

Label smoothing bounds the gap that training aims at (Bag of Tricks, section 5.2 and figure 4).
`gaps.npz` holds one array, `gaps`: float32 [S], in the order of the samples of `correct.npz`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.files import write_npz

GAPS = "gaps.npz"


def gaps(logits: NDArray[Any]) -> NDArray[np.float64]:
    """The largest logit of each row minus the mean of the others.

    Args:
        logits: [N, K], of K >= 2 classes.

    Returns:
        [N], at least 0.
    """
    logits = np.asarray(logits, np.float64)
    largest = logits.max(axis=1)
    return largest - (logits.sum(axis=1) - largest) / (logits.shape[1] - 1)


def save(folder: Path, values: NDArray[Any]) -> Path:
    """Writes a folder's gaps.npz, whole or not at all."""
    write_npz(folder / GAPS, gaps=np.asarray(values, np.float32))
    return folder / GAPS


def load(path: Path) -> NDArray[np.float32]:
    """What `save` wrote."""
    with np.load(path) as file:
        return file["gaps"]
