"""Compares backbones on the same test data, with significance tests: docs/statistics.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.metrics.statistic import Floats
from core.record import Record, RecordError
from results.stats import per_image
from results.stats.intervals import (
    RESAMPLES,
    Interval,
    holm,
    over_seeds,
    p_value,
    percentile_interval,
    replicates,
    t_interval,
    welch,
)
from results.stats.per_image import ImageScores
from results.store import costs
from results.store.comparability import first_difference, measured_on, run_name
from results.tables.fill import Cell, Table

ALPHA = 0.05  # significance level of corrected p-values


@dataclass(frozen=True)
class Side:
    """One backbone's runs of a task, one for each seed.

    Attributes:
        replicated: the metric of each run on the same resamples [S, R]; None if a run has no
            per-image results, and `missing` says which.
    """

    label: str
    metric: str
    runs: tuple[Record, ...]
    replicated: Floats | None = None
    missing: str = ""

    @property
    def values(self) -> list[float]:
        return [run.metrics[self.metric].value for run in self.runs]

    def means(self, several: bool) -> Floats | None:
        """The mean over seeds of each resample [R]; the seeds are resampled too if `several`."""
        if self.replicated is None:
            return None
        return over_seeds(self.replicated, _seed_generator(self.label) if several else None)


@dataclass(frozen=True)
class Comparison:
    """Two backbones, the better one first. Without a test, `difference` and `p` are None.

    Attributes:
        gain: how much better, always >= 0.
        difference: the gain with its interval.
        basis: the method behind the interval and the p-value.
        p: of this comparison alone. `corrected` is Holm's p-value over `among` comparisons.
    """

    ahead: Side
    behind: Side
    gain: float
    difference: Interval | None
    p: float | None
    basis: str
    corrected: float | None = None
    among: int = 1

    @property
    def several(self) -> bool:
        """Whether both have several seeds; then the seeds are resampled too."""
        return min(len(self.ahead.runs), len(self.behind.runs)) > 1

    @property
    def bootstrapped(self) -> bool:
        return not any(side.replicated is None for side in (self.ahead, self.behind))

    def interval(self, side: Side) -> Interval | None:
        """The interval of one side's mean, by the same method as that of the difference."""
        means = side.means(self.several) if self.bootstrapped else None
        if means is None:
            return t_interval(side.values)
        return percentile_interval(float(np.mean(side.values)), means)

    @property
    def missing(self) -> str:
        """Why there is no p-value, or no bootstrap over images."""
        absent = [side.missing for side in (self.ahead, self.behind) if side.missing]
        if self.p is None:
            absent.append("an interval over seeds needs at least two seeds per backbone")
        return "; ".join(absent)


def incomparable(one: Record, other: Record, metric: str) -> str | None:
    """Why a metric of two runs cannot be compared; None if it can."""

    def test(run: Record) -> dict[str, object]:
        return {
            "task": run.task,
            "protocol": run.protocol,
            **measured_on(run, metric),
            "unit": run.metrics[metric].unit,
        }

    difference = first_difference(test(one), test(other))
    if difference is None:
        return None
    return f"{run_name(one)} and {run_name(other)} cannot be compared: they differ in {difference}"


def sides(
    cells: Mapping[str, Cell], metric: str, folders: Mapping[str, Path], count: int = RESAMPLES
) -> list[Side]:
    """The backbones of one column, all on the same resamples of the images.

    Args:
        cells: by backbone.
        folders: the run directories by `run_name`.
        count: the number of resamples.

    Raises:
        RecordError: the test data differ, or a per-image file does not match its record.
    """
    first = next(iter(cells.values())).runs[0]
    for cell in cells.values():
        if (reason := incomparable(first, cell.runs[0], metric)) is not None:
            raise RecordError(reason)
    found, kept = [], []
    for label, cell in cells.items():
        loaded = {
            run_name(run): per_image.load(folders[run_name(run)], run, metric) for run in cell.runs
        }
        absent = [per_image.missing(run, metric) for run in cell.runs if not loaded[run_name(run)]]
        found.append(Side(label, metric, cell.runs, missing="; ".join(absent)))
        kept.append([] if absent else [one for one in loaded.values() if one is not None])
    every = [one for of_side in kept for one in of_side]
    if not every:
        return found
    _check_same_images(every, found)
    values = replicates([one.statistic for one in every], len(every[0].images), count)
    parts = np.split(values, np.cumsum([len(of_side) for of_side in kept])[:-1])
    return [
        replace(side, replicated=part) if len(part) else side
        for side, part in zip(found, parts, strict=True)
    ]


def _check_same_images(every: Sequence[ImageScores], found: Sequence[Side]) -> None:
    if len({one.images for one in every}) > 1:
        labels = ", ".join(side.label for side in found)
        raise RecordError(
            f"{labels}: their per-image results are of different images or in different order"
        )


def compare(one: Side, other: Side) -> Comparison:
    """Compares two backbones by a paired bootstrap over images, or else by Welch's t over seeds.

    If both have several seeds, the bootstrap resamples these too. Without per-image results and
    with a single seed, there is no significance test.
    """
    sign = -1 if costs.smaller_is_better(one.metric) else 1
    gain = sign * float(np.mean(one.values) - np.mean(other.values))
    if gain < 0:
        one, other, gain = other, one, -gain
    untested = Comparison(one, other, gain, None, None, "")
    ahead, behind = (side.means(untested.several) for side in (one, other))
    if ahead is not None and behind is not None:
        differences = sign * (ahead - behind)
        drawn = "images and seeds" if untested.several else "images"
        return replace(
            untested,
            difference=percentile_interval(gain, differences),
            p=p_value(differences),
            basis=f"paired bootstrap over {drawn}, {len(differences)} resamples",
        )
    if (tested := welch(*([sign * v for v in side.values] for side in (one, other)))) is None:
        return untested
    difference, p = tested
    return replace(untested, difference=difference, p=p, basis="Welch's t over seeds alone")


def _seed_generator(label: str) -> np.random.Generator:
    """For the resampling of a backbone's seeds: the same in every table, different per backbone."""
    return np.random.default_rng(list(label.encode()))


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with p-values corrected over all of them (Holm)."""
    adjusted = iter(holm([it.p for it in comparisons if it.p is not None]))
    among = sum(it.p is not None for it in comparisons)
    return [
        it if it.p is None else replace(it, corrected=next(adjusted), among=among)
        for it in comparisons
    ]


def too_few_resamples(comparisons: Sequence[Comparison], count: int) -> str | None:
    """Why `count` resamples are too few to find a significant difference; None if they suffice.

    The smallest possible p-value is 2 / (count + 1), and Holm multiplies it by the number of
    comparisons.
    """
    among = sum(it.p is not None for it in comparisons)
    if not any(it.bootstrapped for it in comparisons) or among * (2 / (count + 1)) <= ALPHA:
        return None
    enough = math.ceil(2 * among / ALPHA) - 1
    return (
        f"{count} resamples are too few for {among} comparisons at p <= {ALPHA}; "
        f"use --resamples {enough} or more"
    )


def mark_ties(table: Table, folders: Mapping[str, Path], count: int = RESAMPLES) -> Table:
    """Marks the values of a ranked table that are not significantly worse than the best."""
    found: dict[tuple[int, int], Comparison] = {}
    reasons = []
    for j, column in enumerate(table.columns):
        if column.metric in costs.COSTS:
            continue
        try:
            compared = _with_best(table, j, folders, count)
        except RecordError as error:
            reasons.append(f"{column.heading}: not compared with the best: {error}")
            continue
        tested = {(i, j): it for i, it in compared.items() if it.p is not None}
        found |= tested
        missing = [it.missing for i, it in compared.items() if (i, j) not in tested]
        if missing:
            why = "; ".join(dict.fromkeys(missing))
            reasons.append(f"{column.heading}: {len(missing)} not compared with the best: {why}")
    if (reason := too_few_resamples([*found.values()], count)) is not None:
        return replace(table, notes=(*table.notes, f"not compared: {reason}", *reasons))
    p_values = {
        place: it.corrected for place, it in zip(found, corrected([*found.values()]), strict=True)
    }
    within = frozenset(place for place, p in p_values.items() if p is not None and p > ALPHA)
    if found:
        bases = " or ".join(sorted({it.basis for it in found.values()}))
        reasons.insert(
            0,
            f"~: within the noise of the column's best ({bases}; p > {ALPHA} by Holm over "
            f"{len(found)} comparisons in this table)",
        )
    return replace(table, within_noise=within, notes=(*table.notes, *reasons))


def _with_best(
    table: Table, j: int, folders: Mapping[str, Path], count: int
) -> dict[int, Comparison]:
    """Compares a column's best with every other backbone; the keys are the others' rows.

    Raises:
        RecordError: as in `sides`.
    """
    rows = [i for i, line in enumerate(table.cells) if line[j].runs]
    best = [i for i in rows if (i, j) in table.best]
    if len(rows) == len(best):
        return {}
    cells = {table.rows[i].heading: table.cells[i][j] for i in rows}
    metric = str(table.columns[j].metric)
    loaded = dict(zip(rows, sides(cells, metric, folders, count), strict=True))
    return {i: compare(loaded[best[0]], loaded[i]) for i in rows if i not in best}
