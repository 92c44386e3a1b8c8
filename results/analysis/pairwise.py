"""Compares two backbones in one line for each task, with intervals and p-values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from core.record import RecordError
from results.stats.intervals import RESAMPLES, Interval
from results.stats.paired import (
    ALPHA,
    Comparison,
    Side,
    compare,
    corrected,
    sides,
    too_few_resamples,
)
from results.store import costs
from results.tables.fill import Table


def compare_two(table: Table, folders: Mapping[str, Path], count: int = RESAMPLES) -> list[str]:
    """One line for each column of a table of two backbones, p-values corrected over all columns.

    Raises:
        RecordError: there are not two backbones, runs cannot be averaged or compared, or there are
            too few resamples.
    """
    labels = [row.heading for row in table.rows]
    if len(labels) != 2:
        raise RecordError(f"compare takes two backbones, found {len(labels)}: {', '.join(labels)}")
    comparisons, alone = [], []
    for j, column in enumerate(table.columns):
        cells = {label: line[j] for label, line in zip(labels, table.cells, strict=True)}
        for label, cell in cells.items():
            if cell.complaint is not None:
                raise RecordError(cell.complaint)
            if not cell.runs:
                alone.append(f"{column.heading}: no record of {label}, nothing to compare.")
        if all(cell.runs for cell in cells.values()):
            if column.metric in costs.COSTS:
                raise RecordError(f"{column.metric} is a cost: costs have no significance test")
            comparisons.append(compare(*sides(cells, str(column.metric), folders, count)))
    if (reason := too_few_resamples(comparisons, count)) is not None:
        raise RecordError(reason)
    return [*map(describe, corrected(comparisons)), *alone]


def describe(found: Comparison) -> str:
    """Which backbone is better, by how much, and whether that is significant."""
    ahead, behind, run = found.ahead, found.behind, found.ahead.runs[0]
    measured = run.metrics[ahead.metric]
    points = "points" if measured.unit == "%" else measured.unit
    gain = f"{found.gain:.2f} {points}{_range(found.difference)}"
    if found.corrected is None:
        told = (
            f"{ahead.label} is {gain} better than {behind.label}, but significance cannot be tested"
        )
    elif found.corrected <= ALPHA:
        told = f"{ahead.label} is better than {behind.label} by {gain}"
    else:
        told = f"no significant difference: {ahead.label} and {behind.label} differ by {gain}"
    values = " and ".join(
        f"{side.label} {np.mean(side.values):.2f}{_range(found.interval(side))}"
        for side in (ahead, behind)
    )
    test = f"{measured.samples} samples of split {measured.split} of {run.dataset.name}"
    parts = [
        f"{run.task} {ahead.metric}: {told}",
        f"{values}, in {measured.unit} of {test}",
        f"protocol {run.protocol}, {_seeds(ahead, behind)}",
        *_significance(found),
    ]
    return "; ".join(parts) + "."


def _significance(found: Comparison) -> list[str]:
    missing = [found.missing] if found.missing else []
    if found.p is None or found.corrected is None:
        return missing
    p = f"{found.basis}, 95 % intervals, {_p(found.p)}"
    if found.among > 1:
        p += f", {_p(found.corrected)} by Holm over {found.among} comparisons"
    return [*missing, p]


def _seeds(one: Side, other: Side) -> str:
    a, b = len(one.runs), len(other.runs)
    number = f"{a} seed{'s' if a > 1 else ''} each" if a == b else f"{a} and {b} seeds"
    return number if min(a, b) > 1 else f"{number}, variation between seeds is not included"


def _range(interval: Interval | None) -> str:
    return "" if interval is None else f" [{interval.low:.2f}, {interval.high:.2f}]"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
