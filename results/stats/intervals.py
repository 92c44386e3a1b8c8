"""Intervals, p-values and rank correlations: pure functions of arrays.

docs/statistics.md explains the methods and their limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from scipy import special

from core.metrics.statistic import Floats, Statistic

CONFIDENCE = 0.95
# The smallest possible p-value is 2 / (RESAMPLES + 1). With 2,000 resamples, no difference among 60
# comparisons could be significant after Holm's correction.
RESAMPLES = 10_000
BLOCK = 2**20  # weights in memory at once: 8 MB
MAX_EXACT_POINTS = 8  # up to here all permutations are tested: 40,320
MIN_BOOTSTRAP_POINTS = 5  # of 4 points, one resample in 64 is a single point


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def t_interval(values: Sequence[float]) -> Interval | None:
    """Student's t interval of the mean over seeds; None for fewer than two seeds."""
    if len(values) < 2:
        return None
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return _student(float(np.mean(values)), error, len(values) - 1)


def welch(one: Sequence[float], other: Sequence[float]) -> tuple[Interval, float] | None:
    """The difference of two means with Welch's interval, and the p-value of Welch's t-test.

    Two-sided. None if a side has fewer than two seeds, or if the variance of both sides is zero.

    Reference: Welch, The generalization of Student's problem, Biometrika 34, 1947.
    """
    if min(len(one), len(other)) < 2:
        return None
    parts = [float(np.var(side, ddof=1)) / len(side) for side in (one, other)]
    if sum(parts) == 0:
        return None
    sizes = (len(one), len(other))
    freedom = sum(parts) ** 2 / sum(p**2 / (n - 1) for p, n in zip(parts, sizes, strict=True))
    difference, error = float(np.mean(one) - np.mean(other)), math.sqrt(sum(parts))
    p = 2 * float(special.stdtr(freedom, -abs(difference) / error))
    return _student(difference, error, freedom), p


def _student(value: float, error: float, freedom: float) -> Interval:
    reach = error * float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2))
    return Interval(value, value - reach, value + reach)


def resamples(images: int, count: int, seed: int = 0) -> Iterator[Floats]:
    """Bootstrap resamples of N images, as blocks of weights [B, N]: `count` rows in all."""
    generator = np.random.default_rng(seed)
    block = max(1, BLOCK // images)
    for first in range(0, count, block):
        rows = min(block, count - first)
        drawn = generator.integers(images, size=(rows, images))
        drawn += images * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * images)
        yield weights.reshape(rows, images).astype(np.float64)


def replicates(
    statistics: Sequence[Statistic], images: int, count: int = RESAMPLES, seed: int = 0
) -> Floats:
    """K statistics on the same resamples of the images: [K, count]."""
    blocks = [
        np.stack([statistic(weights) for statistic in statistics])
        for weights in resamples(images, count, seed)
    ]
    return np.concatenate(blocks, axis=1)


def over_seeds(values: Floats, generator: np.random.Generator | None = None) -> Floats:
    """The mean over seeds of replicates [S, R]. With a generator, the seeds are resampled too.

    S - 1 of the S seeds are drawn with replacement: then the variance over draws is that of the
    mean, s^2 / S. Drawing S seeds would give (S - 1) / S of it, half for two seeds.

    Reference: Rao and Wu, Resampling inference with complex survey data, JASA 83, 1988.
    """
    if generator is None:
        return values.mean(axis=0)
    seeds, count = values.shape
    drawn = generator.integers(seeds, size=(seeds - 1, count))
    return np.take_along_axis(values, drawn, axis=0).mean(axis=0)


def percentile_interval(value: float, replicated: Floats) -> Interval:
    """The bootstrap's percentile interval of a value."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(replicated, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def p_value(differences: Floats) -> float:
    """The two-sided p-value of bootstrapped differences [R].

    2 min(P(d <= 0), P(d >= 0)), at most 1. Each P is (1 + count) / (1 + R), so no p-value is 0.

    Reference: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 4.4.
    """
    fewer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (1 + fewer) / (1 + len(differences)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the given order.

    The smallest of m is multiplied by m, the next by m - 1, and so on; the results are made
    monotone.

    Reference: Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * np.take(p_values, order)))
    return adjusted.tolist()


def kendall(x: Floats, y: Floats) -> Floats:
    """Kendall's tau-b of B pairs of rows [B, n]; NaN if a row is constant."""
    return _cosine(*(_signs(it).reshape(len(it), -1) for it in (x, y)))


def spearman(x: Floats, y: Floats) -> Floats:
    """Spearman's rho of B pairs of rows [B, n], ties at mean rank; NaN if a row is constant."""
    # mean rank = (sum of signs) / 2 + (n + 1) / 2
    return _cosine(_signs(x).sum(axis=2), _signs(y).sum(axis=2))


COEFFICIENTS = {"Spearman": spearman, "Kendall": kendall}


def _signs(rows: Floats) -> Floats:
    return np.sign(rows[:, :, None] - rows[:, None, :])


def _cosine(x: Floats, y: Floats) -> Floats:
    norms = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    with np.errstate(invalid="ignore"):
        return (x * y).sum(axis=1) / norms


@dataclass(frozen=True)
class Correlation:
    """A rank correlation, its two-sided p-value, and its interval if there are enough points."""

    value: float
    p: float
    points: int
    interval: Interval | None


def correlation(
    x: Sequence[float],
    y: Sequence[float],
    coefficient: Callable[[Floats, Floats], Floats],
    count: int = RESAMPLES,
    seed: int = 0,
) -> Correlation | None:
    """A rank correlation with a permutation test and a percentile bootstrap over the points.

    Fisher's z and normal approximations of the p-value need more points than a table has
    backbones. Resamples in which a side is constant have no coefficient and are ignored.

    Returns:
        None for fewer than three points, or if a side is constant.
    """
    one, other = (np.asarray(it, np.float64)[None] for it in (x, y))
    points = one.shape[1]
    if points < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    value = float(coefficient(one, other)[0])
    generator = np.random.default_rng(seed)
    p = _permutation_p(one, other, coefficient, value, count, generator)
    if points < MIN_BOOTSTRAP_POINTS:
        return Correlation(value, p, points, None)
    drawn = generator.integers(points, size=(count, points))
    values = coefficient(one[0, drawn], other[0, drawn])
    interval = percentile_interval(value, values[~np.isnan(values)])
    return Correlation(value, p, points, interval)


def _permutation_p(
    one: Floats,
    other: Floats,
    coefficient: Callable[[Floats, Floats], Floats],
    value: float,
    count: int,
    generator: np.random.Generator,
) -> float:
    """The share of permutations with a coefficient at least as far from 0.

    Tests all permutations of few points, `count` random ones of many.
    """
    points = one.shape[1]
    exact = points <= MAX_EXACT_POINTS
    if exact:
        orders = np.array(list(permutations(range(points))))
    else:
        orders = generator.permuted(np.tile(np.arange(points), (count, 1)), axis=1)
    values = np.concatenate(
        [
            coefficient(np.broadcast_to(one, part.shape), other[0, part])
            for part in np.array_split(orders, 1 + orders.size * points // BLOCK)
        ]
    )
    # equal coefficients may differ by rounding
    as_far = int((np.abs(values) >= abs(value) - 1e-9).sum())
    return as_far / len(orders) if exact else (1 + as_far) / (1 + len(orders))
