"""Intervals, p-values and coefficients against SciPy's, and against loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from results.stats import intervals
from results.stats.intervals import COEFFICIENTS, Interval, correlation

ALL = tuple(COEFFICIENTS.values())
SCIPY = {"Spearman": stats.spearmanr, "Kendall": stats.kendalltau}


def as_tuple(interval: Interval | None) -> tuple[float, float, float]:
    assert interval is not None
    return interval.value, interval.low, interval.high


def test_seeds_have_students_interval() -> None:
    values = [70.0, 71.5, 69.0, 72.0]
    mean, error = np.mean(values), stats.sem(values)
    expected = (mean, *stats.t.interval(0.95, df=3, loc=mean, scale=error))
    assert as_tuple(intervals.t_interval(values)) == pytest.approx(expected)
    assert intervals.t_interval([70.0]) is None
    assert as_tuple(intervals.t_interval([70.0, 70.0])) == (70.0, 70.0, 70.0)


def test_two_backbones_seeds_have_welchs() -> None:
    one, other = [70.0, 71.5, 69.0], [66.0, 67.0, 69.5, 66.5, 67.1]
    found = intervals.welch(one, other)
    assert found is not None
    expected = stats.ttest_ind(one, other, equal_var=False)
    assert found[1] == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval(0.95)
    assert as_tuple(found[0]) == pytest.approx((np.mean(one) - np.mean(other), low, high))
    assert intervals.welch([70.0], other) is None
    assert (
        intervals.welch([70.0, 70.0], [60.0, 60.0]) is None
    )  # an interval of no width is no one's


def test_resamples_draw_as_many_images_as_there_are() -> None:
    whole = np.concatenate(list(intervals.resamples(7, 5000, seed=3)))
    assert whole.shape == (5000, 7)
    assert (whole.sum(axis=1) == 7).all()
    # each count is binomial: 7 draws, each this image with a chance of 1/7
    shares = np.bincount(whole[:, 2].astype(int), minlength=8) / 5000
    assert shares == pytest.approx(stats.binom.pmf(range(8), 7, 1 / 7), abs=0.02)


def test_resamples_do_not_depend_on_the_size_of_blocks() -> None:
    images = intervals.BLOCK // 2 - 1
    first, second = intervals.resamples(images, 3, seed=3)
    assert (len(first), len(second)) == (2, 1)
    drawn = np.random.default_rng(3).integers(images, size=(3, images))
    expected = [np.bincount(row, minlength=images) for row in drawn]
    assert (np.concatenate([first, second]) == expected).all()


def test_the_percentile_interval_is_scipys() -> None:
    right = np.random.default_rng(0).random(200) < 0.7
    means = intervals.replicates([lambda w: w @ right / w.sum(axis=1)], 200)[0]
    found = intervals.percentile_interval(right.mean(), means)
    expected = stats.bootstrap(
        (right.astype(float),), np.mean, n_resamples=10_000, method="percentile", rng=1
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.006)


def test_p_is_twice_the_smaller_tail() -> None:
    differences = np.array([-1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    assert intervals.p_value(differences) == 2 * (1 + 2) / (1 + 9)
    assert intervals.p_value(-differences) == 2 * (1 + 2) / (1 + 9)
    assert intervals.p_value(np.zeros(9)) == 1
    assert intervals.p_value(np.ones(999)) == 2 / 1000


def test_paired_accuracies_agree_with_mcnemar() -> None:
    generator = np.random.default_rng(5)
    one = generator.random(400) < 0.7
    other = np.where(generator.random(400) < 0.2, generator.random(400) < 0.5, one)
    b, c = int((one & ~other).sum()), int((~one & other).sum())
    values = intervals.replicates([lambda w: w @ one, lambda w: w @ other], 400)
    p = intervals.p_value(values[0] - values[1])
    # mid-p of the exact test: half of the probability of what was seen
    few = min(b, c)
    mid = 2 * (stats.binom.cdf(few, b + c, 0.5) - 0.5 * stats.binom.pmf(few, b + c, 0.5))
    assert p == pytest.approx(mid, abs=0.03)


def test_resampled_seeds_have_the_variance_of_the_mean() -> None:
    seeds = np.array([60.0, 64.0, 71.0])
    drawn = intervals.over_seeds(np.tile(seeds[:, None], 200_000), np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(seeds.mean(), abs=0.05)
    assert drawn.var() == pytest.approx(seeds.var(ddof=1) / 3, rel=0.02)
    fixed = intervals.over_seeds(np.array([[1.0, 2.0], [3.0, 6.0]]))
    assert fixed.tolist() == [2.0, 4.0]


def test_holm_by_hand() -> None:
    # 0.01 x 4, 0.02 x 3, 0.03 x 2, and 0.9; the third is not below the second
    assert intervals.holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert intervals.holm([0.6, 0.7]) == [1, 1]
    assert intervals.holm([]) == []


def test_holm_rejects_what_its_steps_reject() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        p = generator.random(6) ** 3
        rejected, left = set(), len(p)
        for i in np.argsort(p):
            if p[i] > 0.05 / left:
                break
            rejected.add(int(i))
            left -= 1
        assert {i for i, it in enumerate(intervals.holm(p)) if it <= 0.05} == rejected


@pytest.mark.parametrize("kind", COEFFICIENTS)
def test_coefficients_are_scipys_with_ties(kind: str) -> None:
    generator = np.random.default_rng(1)
    x, y = generator.integers(0, 4, (2, 50, 6)).astype(float)
    found = COEFFICIENTS[kind](x, y)
    for row, value in enumerate(found):
        constant = np.ptp(x[row]) == 0 or np.ptp(y[row]) == 0
        expected = math.nan if constant else SCIPY[kind](x[row], y[row]).statistic
        assert value == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("kind", COEFFICIENTS)
def test_few_points_have_the_exact_permutation_p(kind: str) -> None:
    x, y = [76.1, 77.2, 77.9, 78.3, 78.7, 78.7], [38.0, 40.1, 39.0, 39.5, 41.0, 40.9]
    found = correlation(x, y, COEFFICIENTS[kind])
    assert found is not None
    of = SCIPY[kind]
    seen = abs(of(x, y).statistic)
    every = [abs(of(x, order).statistic) for order in itertools.permutations(y)]
    assert found.value == pytest.approx(of(x, y).statistic)
    assert found.p == np.mean([it >= seen - 1e-9 for it in every])
    assert found.points == 6


@pytest.mark.parametrize("kind", COEFFICIENTS)
def test_many_points_have_a_p_near_scipys(kind: str) -> None:
    generator = np.random.default_rng(3)
    x = generator.random(15)
    y = x + 1.2 * generator.random(15)
    found = correlation(x.tolist(), y.tolist(), COEFFICIENTS[kind])
    assert found is not None
    assert found.p == pytest.approx(SCIPY[kind](x, y).pvalue, abs=0.01)


@pytest.mark.parametrize("kind", COEFFICIENTS)
def test_intervals_are_of_resampled_points(kind: str) -> None:
    generator = np.random.default_rng(4)
    x = generator.random(7)
    y = x + 0.5 * generator.random(7)
    found = correlation(x.tolist(), y.tolist(), COEFFICIENTS[kind])
    assert found is not None
    assert found.interval is not None
    values = []
    for _ in range(3000):
        drawn = generator.integers(7, size=7)
        if len(set(drawn)) > 1:
            values.append(SCIPY[kind](x[drawn], y[drawn]).statistic)
    low, high = np.quantile(values, [0.025, 0.975])
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=0.06)


@pytest.mark.parametrize("coefficient", ALL)
def test_constant_or_too_few_points_have_no_coefficient(coefficient: object) -> None:
    assert correlation([], [], coefficient) is None  # type: ignore[arg-type]
    assert correlation([1, 2], [1, 2], coefficient) is None  # type: ignore[arg-type]
    assert correlation([1, 2, 3], [5, 5, 5], coefficient) is None  # type: ignore[arg-type]
    few = correlation([1, 2, 3, 4], [1, 2, 3, 4], coefficient)  # type: ignore[arg-type]
    assert few is not None
    assert few.interval is None
    assert few.p == pytest.approx(2 / 24)
    tied = correlation([1, 1, 1, 1, 2], [3, 4, 3, 4, 9], coefficient)  # type: ignore[arg-type]
    assert tied is not None
    assert tied.interval is not None
    assert not math.isnan(tied.interval.low + tied.interval.high)
