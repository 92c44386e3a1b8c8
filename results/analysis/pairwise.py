"""Two backbones in a sentence for each task: who is ahead, by how much, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from core.record import RecordError
from results.stats.intervals import RESAMPLES, Interval
from results.stats.paired import SURE, Comparison, Side, compare, corrected, sides, too_few
from results.store import costs
from results.tables.fill import Table


def of_two(table: Table, folders: Mapping[str, Path], count: int = RESAMPLES) -> list[str]:
    """A sentence for each column of a table of two backbones, corrected for all of them.

    Raises:
        RecordError: not two backbones, a cell's runs were not averaged, or two runs are not of the
            same test, or so few resamples can tell nothing.
    """
    labels = [row.heading for row in table.rows]
    if len(labels) != 2:
        raise RecordError(f"two backbones are compared, not {len(labels)}: {', '.join(labels)}")
    comparisons, alone = [], []
    for j, column in enumerate(table.columns):
        cells = {label: line[j] for label, line in zip(labels, table.cells, strict=True)}
        for label, cell in cells.items():
            if cell.complaint is not None:
                raise RecordError(cell.complaint)
            if not cell.runs:
                alone.append(f"{column.heading}: no record of {label}, so nothing to compare.")
        if all(cell.runs for cell in cells.values()):
            if column.metric in costs.QUANTITIES:
                raise RecordError(f"{column.metric} is a cost, and has no noise to compare with")
            comparisons.append(compare(*sides(cells, str(column.metric), folders, count)))
    if (reason := too_few(comparisons, count)) is not None:
        raise RecordError(reason)
    return [*map(sentence, corrected(comparisons)), *alone]


def sentence(found: Comparison) -> str:
    """Who is ahead, by how much, and how sure that is."""
    ahead, behind, run = found.ahead, found.behind, found.ahead.runs[0]
    measured = run.metrics[ahead.metric]
    points = "points" if measured.unit == "%" else measured.unit
    gain = f"{found.gain:.2f} {points}{_range(found.difference)}"
    if found.corrected is None:
        told = (
            f"{ahead.label} came out ahead of {behind.label} by {gain}, how surely cannot be said"
        )
    elif found.corrected <= SURE:
        told = f"{ahead.label} is ahead of {behind.label} by {gain}"
    else:
        told = (
            f"no difference beyond the noise between {ahead.label} and {behind.label}, "
            f"which differ by {gain}"
        )
    values = " and ".join(
        f"{side.label} {np.mean(side.values):.2f}{_range(found.interval(side))}"
        for side in (ahead, behind)
    )
    test = f"{measured.samples} samples of split {measured.split} of {run.dataset.name}"
    parts = [
        f"{run.task} {ahead.metric}: {told}",
        f"{values}, in {measured.unit} of {test}",
        f"protocol {run.protocol}, {_seeds(ahead, behind)}",
        *_certainty(found),
    ]
    return "; ".join(parts) + "."


def _certainty(found: Comparison) -> list[str]:
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
    return number if min(a, b) > 1 else f"{number}, so that what another seed changes is not in it"


def _range(interval: Interval | None) -> str:
    return "" if interval is None else f" [{interval.low:.2f}, {interval.high:.2f}]"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
