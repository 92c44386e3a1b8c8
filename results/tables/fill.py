"""Fills table specifications with records. Measured values stand beside the published ones."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import product

from core.files import file_name
from core.record import Record
from results.store import costs
from results.store.comparability import averaging_conflict, run_name
from results.tables.index import Index
from results.tables.paper_table import Figure, Published
from results.tables.spec import (
    PAPER_RECIPES,
    Column,
    RecordFilter,
    Reduction,
    Row,
    TableSpec,
    recipes,
)

RANDOM = "random*"  # matches the source of untrained backbones: random:resnet50d


@dataclass(frozen=True)
class Cell:
    """One metric: of our runs, one per seed, and as published.

    `runs` is empty if there is no run, or if `complaint` says why the runs cannot be averaged.
    """

    runs: tuple[Record, ...]
    metric: str | None
    published: Figure
    complaint: str | None = None
    reduce: Reduction = "mean"

    @cached_property
    def values(self) -> list[float]:
        found = (costs.value(run, self.metric) for run in self.runs if self.metric)
        return [value for value in found if value is not None]

    @cached_property
    def value(self) -> float | None:
        """The value over all seeds, combined as `reduce` says."""
        values = self.values
        if not values:
            return None
        if self.reduce == "std":
            return statistics.stdev(values) if len(values) > 1 else None
        if self.reduce == "mean":
            return statistics.fmean(values)
        return max(values) if self.reduce == "max" else min(values)

    @cached_property
    def deviation(self) -> float | None:
        """The sample standard deviation over seeds; None for one seed, or if this is not a mean."""
        values = self.values
        return statistics.stdev(values) if self.reduce == "mean" and len(values) > 1 else None

    @property
    def difference(self) -> float | None:
        """Ours minus published."""
        ours, theirs = self.value, self.published
        if ours is None or not isinstance(theirs, int | float) or isinstance(theirs, bool):
            return None
        return ours - theirs


@dataclass(frozen=True)
class Table:
    """A filled table: `cells` by row, then column.

    Attributes:
        best: (row, column) of each column's best value, if the table is ranked.
        within_noise: (row, column) of values that are not significantly worse than the best; None
            if that was not tested.
    """

    spec: TableSpec
    protocol: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]
    best: frozenset[tuple[int, int]] = frozenset()
    within_noise: frozenset[tuple[int, int]] | None = None

    @property
    def empty(self) -> bool:
        """Whether no cell has a record, not even one that could not be averaged."""
        return not any(cell.runs or cell.complaint for row in self.cells for cell in row)


def build(
    spec: TableSpec,
    records: Sequence[Record] | Index,
    published: Published,
    skipped: Sequence[str] = (),
    own: Sequence[str] = (),
) -> Table:
    """Fill a table from records of one protocol.

    Args:
        records: pass an Index to build several tables from the same records.
        published: the papers' tables; any other table has no published values.
        skipped: messages about unreadable records, which become notes below the table.
        own: labels of backbones that the user adds as rows.

    Raises:
        ValueError: no record, or records of several protocols.
    """
    index = records if isinstance(records, Index) else Index(records)
    protocol = _only_protocol(index)
    rows = spec.rows
    columns = spec.columns + _found_columns(spec, index)
    further = _further_backbones(spec, columns, index)
    added = [name for name in map(file_name, own) if name not in further]
    if spec.backbones_in == "rows":
        rows += tuple(Row(name, where) for name, where in further.items())
        rows += tuple(_own_row(spec, name) for name in added)
    else:
        metric = spec.columns[0].metric
        further |= {name: recipes(name) for name in added}
        columns += tuple(
            Column(name, name, where, metric, published=False) for name, where in further.items()
        )
    cells = tuple(
        tuple(
            _cell(row, column, index, _figure(published, spec.name, row, column))
            for column in columns
        )
        for row in rows
    )
    table = Table(spec, protocol, rows, columns, cells, notes=())
    return replace(table, notes=(*_notes(table), *_skipped(skipped)))


def _only_protocol(index: Index) -> str:
    protocols = sorted({record.protocol for record in index.kinds})
    if len(protocols) != 1:
        raise ValueError(f"a table needs records of one protocol, found {protocols or 'none'}")
    return protocols[0]


def _own_row(spec: TableSpec, name: str) -> Row:
    return Row(name, {key: recipes(pattern.format(name)) for key, pattern in spec.own.items()})


def _found_columns(spec: TableSpec, index: Index) -> tuple[Column, ...]:
    """A column for each metric of `found_metrics`, stage and dataset that has a record."""
    if not spec.found_metrics:
        return ()
    found = {
        (record.stage, record.dataset.mirrors, metric)
        for record in index.records
        for metric in record.metrics
    }
    datasets = sorted({dataset for _, dataset, _ in found})
    in_order = product(spec.further_stages, datasets, spec.found_metrics)
    return tuple(
        Column(
            key=f"{stage} {dataset} {metric}",
            heading=f"{stage} {dataset} {metric}",
            where=RecordFilter(stage=stage, mirrors=dataset),
            metric=metric,
            published=False,
        )
        for stage, dataset, metric in in_order
        if (stage, dataset, metric) in found
    )


def _further_backbones(
    spec: TableSpec, columns: Sequence[Column], index: Index
) -> dict[str, RecordFilter]:
    """Backbones on the table's datasets that no row (or column) selects, by name, in order."""
    backbones, datasets = _sides(spec, spec.rows, columns)
    found = {
        _backbone(record)
        for record in index.kinds
        if record.stage in spec.further_stages
        and any(_selects(line, record) for line in datasets)
        and not any(_selects(line, record) for line in backbones)
    }

    def place(backbone: tuple[str, RecordFilter]) -> tuple[bool, int, str]:
        name, where = backbone
        is_random = bool(where.sources)
        paper = PAPER_RECIPES.index(name) if name in PAPER_RECIPES else len(PAPER_RECIPES)
        return is_random is spec.random_last, paper, name  # False sorts first

    return dict(sorted(found, key=place))


def _sides(
    spec: TableSpec, rows: Sequence[Row], columns: Sequence[Column]
) -> tuple[Sequence[Row | Column], Sequence[Row | Column]]:
    """The side of a table that lists backbones, and the side that lists datasets."""
    return (rows, columns) if spec.backbones_in == "rows" else (columns, rows)


def _selects(line: Row | Column, record: Record) -> bool:
    where = line.where
    if where is None:
        return False
    wheres = [where] if isinstance(where, RecordFilter) else where.values()
    return any(one.matches(record) for one in wheres)


def _backbone(record: Record) -> tuple[str, RecordFilter]:
    """The name of a record's backbone, and a filter for its records.

    Random weights are named by architecture, every other backbone by its recipe or label.
    """
    architecture = record.backbone.architecture
    untrained = RecordFilter(architecture=architecture, sources=(RANDOM,))
    if untrained.matches(record):
        return f"random weights ({architecture})", untrained
    return record.recipe, recipes(record.recipe)


def _figure(published: Published, table: str, row: Row, column: Column) -> Figure:
    """The published value of a cell; None if the paper has no such table, row or value."""
    if table not in published or not column.published:
        return None
    if row.heading not in published[table].rows:
        return None  # not a backbone of the paper
    return published[table].figure(row.heading, column.key)


def _cell(row: Row, column: Column, index: Index, published: Figure) -> Cell:
    where = row.filter_for(column.family)
    if where is None or column.metric is None:
        return Cell((), column.metric, published)
    runs = index.select(where, column.where)
    metric = _metric(row, column.metric, runs)
    runs = tuple(
        run
        for run in runs
        if costs.value(run, metric) is not None
        and (column.split is None or column.split == run.metrics[metric].split)
        and column.seed in (None, run.seed)
    )
    complaint = None
    if reason := averaging_conflict(runs, metric, column.unit):
        runs = ()
        complaint = f"{row.heading}, {column.heading}: not averaged: {reason}"
    return Cell(runs, metric, published, complaint, column.reduce)


def _metric(row: Row, columns: str, runs: Iterable[Record]) -> str:
    """The metric of a cell: the column's, unless the row has patterns."""
    for run, pattern in product(runs, row.metrics):
        named = [name for name in run.metrics if fnmatchcase(name, pattern)]
        if len(named) == 1:
            return named[0]
    return row.metrics[0] if row.metrics else columns


def ranked(table: Table, column: int = 0) -> Table:
    """The table with its rows sorted by a column, best first, and each column's best marked.

    Rows without a value in that column come last, in their original order.
    """

    def rank(i: int) -> tuple[bool, float]:
        worse = _worse(table.cells[i][column])
        return worse == math.inf, worse

    order = sorted(range(len(table.rows)), key=rank) if table.columns else []
    cells = tuple(table.cells[i] for i in order)
    best = set()
    for j in range(len(table.columns)):
        worst_last = [_worse(row[j]) for row in cells]
        top = min(worst_last, default=math.inf)
        best |= {(i, j) for i, it in enumerate(worst_last) if it == top < math.inf}
    rows = tuple(table.rows[i] for i in order)
    return replace(table, rows=rows, cells=cells, best=frozenset(best))


def _worse(cell: Cell) -> float:
    """A sort key: smaller is better, infinity means no value."""
    value = cell.value
    if value is None or cell.metric is None:
        return math.inf
    return value if costs.smaller_is_better(cell.metric) else -value


def _notes(table: Table) -> list[str]:
    """Notes on the test data, on runs that were not averaged, and on records without a commit."""
    runs = {run_name(run): run for row in table.cells for cell in row for run in cell.runs}
    complaints = [cell.complaint for row in table.cells for cell in row if cell.complaint]
    notes = _measured_on(table) + complaints
    if table.empty:
        notes.append("no record for this table yet")
    unclean = sum(run.git.clean is False for run in runs.values())
    unknown = sum(run.git.clean is None for run in runs.values())
    if unclean:
        notes.append(f"{unclean} of {len(runs)} records were made with uncommitted changes")
    if unknown:
        notes.append(f"{unknown} of {len(runs)} records have no known commit")
    return notes


def _measured_on(table: Table) -> list[str]:
    """A note for each dataset: the metric's details, samples, split and dataset.

    If the backbones on a dataset differ in these, each variant has a note that names its backbones.
    Datasets (or columns) with the same notes share them.
    """
    backbones, datasets = _sides(table.spec, table.rows, table.columns)
    by_row = table.spec.backbones_in == "columns"
    sharing: dict[tuple[str, ...], list[str]] = {}
    for i, dataset in enumerate(datasets):
        described: dict[str, list[str]] = {}
        for j, backbone in enumerate(backbones):
            cell = table.cells[i][j] if by_row else table.cells[j][i]
            if cell.runs and (measurement := _measurement(cell)):
                described.setdefault(measurement, []).append(backbone.heading)
        lines = tuple(
            f" of {'; '.join(headings)}: {measurement}"
            if len(described) > 1
            else f": {measurement}"
            for measurement, headings in described.items()
        )
        if lines:
            sharing.setdefault(lines, []).append(dataset.heading)
    return [f"{', '.join(headings)}{line}" for lines, headings in sharing.items() for line in lines]


def _measurement(cell: Cell) -> str:
    """How a cell's value was measured; "" for costs that do not depend on hardware."""
    run = cell.runs[0]
    if cell.metric in run.metrics:
        measured, data = run.metrics[cell.metric], run.dataset
        stands_for = "" if data.name == data.mirrors else f", in place of {data.mirrors}"
        detail = f"{measured.detail}, " if measured.detail else ""
        return (
            f"{detail}{measured.samples} samples of split {measured.split} of {data.name}"
            f"{stands_for} (fingerprint {data.fingerprint[:8]})"
        )
    if cell.metric in costs.COSTS and costs.COSTS[cell.metric].of_hardware:
        return f"{run.cost.devices} x {run.cost.device}, {run.cost.precision}"
    return ""


def _skipped(complaints: Sequence[str]) -> list[str]:
    if not complaints:
        return []
    return [f"records skipped: {len(complaints)}", *(f"skipped: {it}" for it in complaints)]
