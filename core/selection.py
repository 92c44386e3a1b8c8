"""A few of many, evenly spaced, so that nobody has picked them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

SHOWN = 3  # test images that a figure shows


def evenly(items: Sequence[T], count: int) -> list[T]:
    """So many of the items, the first and the last among them; all, if there are no more."""
    places = np.linspace(0, len(items) - 1, min(count, len(items)))
    return [items[round(place)] for place in places]
