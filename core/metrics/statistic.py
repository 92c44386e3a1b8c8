"""A metric as a function of weights: how often each image of a test counts.

Weights of one give the metric itself. A bootstrap resample weighs each image by the number of times
it was drawn, so that an image is matched or counted once, however many resamples there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# weights [R, N] of N images in R resamples -> the metric of each resample [R]
Statistic = Callable[[Floats], Floats]


class PerImage(Protocol):
    """What a test found in each image."""

    @property
    def images(self) -> tuple[str, ...] | tuple[int, ...]:
        """What identifies each image: its name, or its position in the test split."""

    def statistics(self) -> Mapping[str, Statistic]:
        """The metrics that follow from it, in percent, by the names that a record has."""


def value(statistic: Statistic, images: int) -> float:
    """The metric itself: each image counts once."""
    return float(statistic(np.ones((1, images)))[0])


def values(results: PerImage) -> dict[str, float]:
    """Every metric that follows from a test's results, by name."""
    images = len(results.images)
    return {name: value(statistic, images) for name, statistic in results.statistics().items()}


def ratio(part: Floats, whole: Floats) -> Floats:
    """part / whole, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)


def mean_over_classes(values: Floats, counted: NDArray[np.bool_]) -> Floats:
    """The mean of each row's counted values [R, C] -> [R]; 0 for a row in which none is counted."""
    # Zeros of classes that no row counts would change the order of summation, and the last bit.
    anywhere = counted.any(axis=0)
    sums = (values * counted).compress(anywhere, axis=1).sum(axis=1)
    return ratio(sums, counted.sum(axis=1).astype(np.float64))
