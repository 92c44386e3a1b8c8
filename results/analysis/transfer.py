"""Does better pretraining transfer better? Rank correlations of source top-1 with each task.

Tests the claim of Bag of Tricks' tables 8 and 9 on our runs and on the published values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.record import Record, RecordError
from core.tasks import COMPARED, TASKS
from results.stats.intervals import (
    COEFFICIENTS,
    CONFIDENCE,
    MAX_EXACT_POINTS,
    MIN_BOOTSTRAP_POINTS,
    RESAMPLES,
    Correlation,
    correlation,
    holm,
)
from results.tables.custom import column_of
from results.tables.fill import Table, build
from results.tables.grid import DASH, Grid, span
from results.tables.index import Index
from results.tables.paper_table import Published
from results.tables.render import not_comparable, side
from results.tables.spec import IMAGENET, Column, Row, TableSpec, recipes

SOURCE = Column(
    "source",
    "source top-1",
    IMAGENET,
    "top1",
    published=False,
)
# The published table and column of each task's metric. Column top1 of each table is source top-1.
PUBLISHED = {
    f"{name} {metric}": published
    for name in COMPARED
    for metric in TASKS[name].compared
    if (published := TASKS[name].metrics[metric].published)
}

Points = Mapping[str, tuple[float, float]]  # (source top-1 or score, metric) by backbone


@dataclass(frozen=True)
class MetricCorrelations:
    """The correlations of one pair of variables: the number of points, and each coefficient."""

    points: int
    found: dict[str, Correlation | None]
    corrected: dict[str, float]


def table_of(index: Index) -> Table:
    """Backbones with a source top-1 by tasks; each cell is the mean over seeds.

    Random weights and external checkpoints have no source top-1 and are excluded.

    Raises:
        RecordError: no backbone was pretrained here, or none has a downstream result.
    """
    sources = index.select(SOURCE.where)
    labels = sorted({run.recipe for run in sources if run.backbone.pretrained})
    tested = index.select(recipes(*labels)) if labels else ()
    columns = list(_columns(tested))
    if not columns:
        raise RecordError("no backbone that was pretrained here has a downstream result")
    spec = TableSpec(
        name="transfer",
        file="transfer",
        title="Source top-1 and downstream metrics",
        row_heading="backbone",
        rows=tuple(Row(label, recipes(label)) for label in labels),
        columns=(SOURCE, *columns),
    )
    return build(spec, index, {})


def _columns(runs: Iterable[Record]) -> Iterable[Column]:
    found = {
        (run.task, place): name
        for run in runs
        for place, name in enumerate(TASKS[run.stage].compared)
        if name in run.metrics
    }
    for (task, _), name in sorted(found.items()):
        yield column_of(task, name, "%")


def points(table: Table, column: int, score: int = 0) -> Points:
    """(x, y) of each backbone that has both: column `score` and column `column` of the table."""
    found = {}
    for row, cells in zip(table.rows, table.cells, strict=True):
        x, y = cells[score].value, cells[column].value
        if x is not None and y is not None:
            found[row.heading] = x, y
    return found


def published_points(published: Published, name: str) -> Points:
    """(source top-1, metric) of each row of the paper's table; empty if no table has the metric."""
    if name not in PUBLISHED:
        return {}
    table, column = PUBLISHED[name]
    figures = published[table]
    found = {}
    for row in figures.rows:
        x, y = figures.figure(row, "top1"), figures.figure(row, column)
        if isinstance(x, int | float) and isinstance(y, int | float):
            found[row] = x, y
    return found


def correlate(named: dict[str, Points], count: int = RESAMPLES) -> dict[str, MetricCorrelations]:
    """Both coefficients of every metric. Each coefficient's p-values are corrected over metrics."""
    found: dict[str, dict[str, Correlation | None]] = {}
    for name, pairs in named.items():
        x, y = [it[0] for it in pairs.values()], [it[1] for it in pairs.values()]
        found[name] = {
            kind: correlation(x, y, coefficient, count)
            for kind, coefficient in COEFFICIENTS.items()
        }
    corrected: dict[str, dict[str, float]] = {name: {} for name in named}
    for kind in COEFFICIENTS:
        p_values = {name: it.p for name in named if (it := found[name][kind]) is not None}
        for name, p in zip(p_values, holm(list(p_values.values())), strict=True):
            corrected[name][kind] = p
    return {
        name: MetricCorrelations(len(named[name]), found[name], corrected[name]) for name in named
    }


def grid(
    index: Index, published: Published, skipped: Sequence[str] = (), count: int = RESAMPLES
) -> Grid:
    """The correlations of every metric, ours beside published."""
    table = table_of(index)
    ours = correlate({it.key: points(table, j) for j, it in enumerate(table.columns) if j}, count)
    theirs = correlate({name: published_points(published, name) for name in PUBLISHED}, count)
    names = [*ours, *(name for name in theirs if name not in ours)]
    empty = MetricCorrelations(0, dict.fromkeys(COEFFICIENTS), {})
    return Grid(
        title=f"Does better pretraining transfer better? (protocol {table.protocol})",
        preamble="Rank correlations of source top-1 with each downstream metric.",
        warning=not_comparable(table.protocol),
        head=["metric", *head_of(side(table.protocol)), *head_of("published")],
        lines=[
            [name, *cells_of(ours.get(name, empty)), *cells_of(theirs.get(name, empty))]
            for name in names
        ],
        bold=frozenset(),
        notes=(*_notes(table, count), *table.notes, *(f"skipped: {it}" for it in skipped)),
    )


def head_of(whose: str) -> list[str]:
    words = [f"backbones ({whose})"]
    for kind in COEFFICIENTS:
        words += [f"{kind} ({whose})", f"{kind} p (Holm, {whose})"]
    return words


def cells_of(line: MetricCorrelations) -> list[str]:
    cells = [str(line.points) if line.points else DASH]
    for kind, found in line.found.items():
        if found is None:
            cells += [DASH, DASH]
            continue
        text = f"{found.value:.2f}"
        if (it := found.interval) is not None:
            text += f" [{it.low:.2f}, {it.high:.2f}]"
        p = line.corrected[kind]
        cells += [text, "< 0.0001" if p < 0.0001 else f"{p:.4f}"]
    return cells


def method_note(count: int, among: str) -> str:
    """A note on the methods behind intervals and p-values."""
    return (
        f"intervals: {CONFIDENCE:.0%}, percentile bootstrap over backbones, {count} resamples, for "
        f"{MIN_BOOTSTRAP_POINTS} backbones or more; p: two-sided permutation test (exact "
        f"up to {MAX_EXACT_POINTS} backbones), corrected by Holm over the {among}"
    )


def _notes(table: Table, count: int) -> list[str]:
    labels = [row.heading for row in table.rows]
    seeds = [len(cell.runs) for line in table.cells for cell in line if cell.runs]
    return [
        f"backbones: {', '.join(labels)}; each value is a mean over seeds ({span(seeds)})",
        "random weights and external checkpoints are excluded: they have no source top-1",
        method_note(count, "metrics of each coefficient and side"),
        "the recipes build on each other and are no random sample of backbones: the intervals only "
        "show how much the result depends on single backbones",
    ]
