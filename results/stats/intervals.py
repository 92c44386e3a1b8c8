"""Intervals, p-values and rank correlations: pure functions of arrays.

docs/statistics.md says what is computed where, and what it cannot say.
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
# A p-value is at least 2 / (RESAMPLES + 1): with 2,000, Holm's correction of 60 comparisons could
# not call any difference sure.
RESAMPLES = 10_000
BLOCK = 2**20  # images drawn at once: weights of 8 MB
EXACT = 8  # points of which all 40,320 permutations are looked at
FEWEST = 5  # points for a bootstrap interval: of 4, one resample in 64 is a single point


@dataclass(frozen=True)
class Interval:
    """A number, and what it lies between with 95 % confidence."""

    value: float
    low: float
    high: float


def t_interval(values: Sequence[float]) -> Interval | None:
    """Student's interval of the mean of seeds; None below two."""
    if len(values) < 2:
        return None
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return _student(float(np.mean(values)), error, len(values) - 1)


def welch(one: Sequence[float], other: Sequence[float]) -> tuple[Interval, float] | None:
    """One's mean minus other's with Welch's interval, and the two-sided p-value of Welch's t-test.

    None where a side has fewer than two seeds, or neither side's seeds differ. (Welch, The
    generalization of Student's problem, Biometrika 34, 1947.)
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
    """`count` draws of as many images as there are, with replacement: blocks of weights [B, N]."""
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
    """Each of K statistics on the same resamples of the images: [K, count]."""
    blocks = [
        np.stack([statistic(weights) for statistic in statistics])
        for weights in resamples(images, count, seed)
    ]
    return np.concatenate(blocks, axis=1)


def over_seeds(values: Floats, generator: np.random.Generator | None = None) -> Floats:
    """The mean over seeds of replicates [S, R]; of seeds drawn anew for each, with a generator.

    S - 1 of the S are drawn, with replacement, so that the variance over draws is that of the mean,
    s^2 / S; drawing S would give (S - 1) / S of it, half for two seeds. (Rao and Wu, Resampling
    inference with complex survey data, JASA 83, 1988.)
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
    """Two-sided, of bootstrapped differences [R]: 2 min(P(d <= 0), P(d >= 0)), at most 1.

    Each P is (1 + how many) / (1 + R), so that no p-value is 0. (Davison and Hinkley, Bootstrap
    Methods and their Application, 1997, section 4.4.)
    """
    fewer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (1 + fewer) / (1 + len(differences)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given. (Scandinavian Journal of Statistics 6, 1979.)

    The smallest of m is multiplied by m, the next by m - 1 ...; none falls below a smaller one's.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * np.take(p_values, order)))
    return adjusted.tolist()


def kendall(x: Floats, y: Floats) -> Floats:
    """Kendall's tau-b of each of B pairs of rows [B, n]; NaN where a row is constant."""
    return _cosine(*(_signs(it).reshape(len(it), -1) for it in (x, y)))


def spearman(x: Floats, y: Floats) -> Floats:
    """Spearman's rho of each of B pairs of rows [B, n], ties at their mean rank; NaN likewise."""
    # an element's mean rank is half the sum of its signs, and (n + 1) / 2
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
    """A coefficient of n points, its two-sided p-value, and its interval if there are enough."""

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

    Fisher's z and the normal approximations of the p-value want more points than a table has
    backbones. Resamples in which a side is constant have no coefficient, and are left out.

    Returns:
        None below three points, or where a side is constant.
    """
    one, other = (np.asarray(it, np.float64)[None] for it in (x, y))
    points = one.shape[1]
    if points < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    value = float(coefficient(one, other)[0])
    generator = np.random.default_rng(seed)
    p = _permutation_p(one, other, coefficient, value, count, generator)
    if points < FEWEST:
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
    """The share of permutations whose coefficient is as far from 0: of all, or of `count` drawn."""
    points = one.shape[1]
    exact = points <= EXACT
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
