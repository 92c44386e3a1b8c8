"""The papers' tables, ours beside published: pure functions of records and declarations."""

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
from results.store.comparability import disagreement, run_name
from results.tables.index import Index
from results.tables.paper_table import Figure, Published
from results.tables.spec import PAPER_RECIPES, Column, Declaration, Reduction, Row, Where

RANDOM = "random*"  # the source of a backbone that was never trained: random:resnet50d


@dataclass(frozen=True)
class Cell:
    """One metric: of our runs, one per seed, and as published.

    `runs` is empty where there is none, and where `complaint` says why they were not averaged.
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
        """What stands for all seeds."""
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
        """The sample standard deviation over seeds; None below two, and beside no mean."""
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
    """A declared table, filled: `cells` by row, then column.

    Attributes:
        best: places of each column's best, if the table is ranked.
        within_noise: places that are not surely worse; None where that was not asked, or cannot
            be told.
    """

    declaration: Declaration
    protocol: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]
    best: frozenset[tuple[int, int]] = frozenset()
    within_noise: frozenset[tuple[int, int]] | None = None

    @property
    def empty(self) -> bool:
        """No cell has a record of ours, nor one that was refused."""
        return not any(cell.runs or cell.complaint for row in self.cells for cell in row)


def build(
    declaration: Declaration,
    records: Sequence[Record] | Index,
    published: Published,
    skipped: Sequence[str] = (),
    own: Sequence[str] = (),
) -> Table:
    """Fill a table from records of one protocol.

    Args:
        records: an Index, if several tables are built from the same.
        published: the papers' tables; one that they do not have is shown without figures.
        skipped: complaints about records that could not be read, to be told below the table.
        own: labels or specifications of backbones that the user wants as further rows.

    Raises:
        ValueError: no record, or records of several protocols.
    """
    index = records if isinstance(records, Index) else Index(records)
    protocol = _only_protocol(index)
    rows = declaration.rows
    columns = declaration.columns + _found_columns(declaration, index)
    further = _further_backbones(declaration, columns, index)
    asked = [name for name in map(file_name, own) if name not in further]
    if declaration.backbones_in == "rows":
        rows += tuple(Row(name, where) for name, where in further.items())
        rows += tuple(_own_row(declaration, name) for name in asked)
    else:
        metric = declaration.columns[0].metric
        further |= {name: Where(recipes=(name,)) for name in asked}
        columns += tuple(
            Column(name, name, where, metric, published=False) for name, where in further.items()
        )
    cells = tuple(
        tuple(
            _cell(row, column, index, _figure(published, declaration.name, row, column))
            for column in columns
        )
        for row in rows
    )
    table = Table(declaration, protocol, rows, columns, cells, notes=())
    return replace(table, notes=(*_notes(table), *_skipped(skipped)))


def _only_protocol(index: Index) -> str:
    protocols = sorted({record.protocol for record in index.kinds})
    if len(protocols) != 1:
        raise ValueError(f"a table is of one protocol; these records are of {protocols or 'none'}")
    return protocols[0]


def _own_row(declaration: Declaration, name: str) -> Row:
    recipes = {
        family: Where(recipes=(pattern.format(name),))
        for family, pattern in declaration.own.items()
    }
    return Row(name, recipes)


def _found_columns(declaration: Declaration, index: Index) -> tuple[Column, ...]:
    """A column for each metric of `found_metrics`, stage and data set that has a record."""
    if not declaration.found_metrics:
        return ()
    found = {
        (record.stage, record.dataset.mirrors, metric)
        for record in index.records
        for metric in record.metrics
    }
    data_sets = sorted({data_set for _, data_set, _ in found})
    in_order = product(declaration.further_stages, data_sets, declaration.found_metrics)
    return tuple(
        Column(
            key=f"{stage} {data_set} {metric}",
            heading=f"{stage} {data_set} {metric}",
            where=Where(stage=stage, mirrors=data_set),
            metric=metric,
            published=False,
        )
        for stage, data_set, metric in in_order
        if (stage, data_set, metric) in found
    )


def _further_backbones(
    declaration: Declaration, columns: Sequence[Column], index: Index
) -> dict[str, Where]:
    """Backbones on the table's data sets that no row (or column) speaks of, by name, in order."""
    backbones, data_sets = _sides(declaration, declaration.rows, columns)
    found = {
        _backbone(record)
        for record in index.kinds
        if record.stage in declaration.further_stages
        and any(_speaks_of(line, record) for line in data_sets)
        and not any(_speaks_of(line, record) for line in backbones)
    }

    def place(backbone: tuple[str, Where]) -> tuple[bool, int, str]:
        name, where = backbone
        is_random = bool(where.sources)
        paper = PAPER_RECIPES.index(name) if name in PAPER_RECIPES else len(PAPER_RECIPES)
        return is_random is declaration.random_last, paper, name  # False sorts first

    return dict(sorted(found, key=place))


def _sides(
    declaration: Declaration, rows: Sequence[Row], columns: Sequence[Column]
) -> tuple[Sequence[Row | Column], Sequence[Row | Column]]:
    """The side of a table that names backbones, and the side that names data sets."""
    return (rows, columns) if declaration.backbones_in == "rows" else (columns, rows)


def _speaks_of(line: Row | Column, record: Record) -> bool:
    where = line.where
    if where is None:
        return False
    wheres = [where] if isinstance(where, Where) else where.values()
    return any(one.matches(record) for one in wheres)


def _backbone(record: Record) -> tuple[str, Where]:
    """The name of a record's backbone, and which records are of the same.

    Random weights go by their architecture, every other backbone by its recipe or label.
    """
    architecture = record.backbone.architecture
    untrained = Where(architecture=architecture, sources=(RANDOM,))
    if untrained.matches(record):
        return f"random weights ({architecture})", untrained
    return record.recipe, Where(recipes=(record.recipe,))


def _figure(published: Published, table: str, row: Row, column: Column) -> Figure:
    """The published figure of a cell, or None where the paper has no such table, row or figure."""
    if table not in published or not column.published:
        return None
    if row.heading not in published[table].rows:
        return None  # a backbone of our own
    return published[table].figure(row.heading, column.key)


def _cell(row: Row, column: Column, index: Index, published: Figure) -> Cell:
    where = row.of(column.family)
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
    if reason := disagreement(runs, metric, column.unit):
        runs = ()
        complaint = f"{row.heading}, {column.heading}: not averaged: {reason}"
    return Cell(runs, metric, published, complaint, column.reduce)


def _metric(row: Row, columns: str, runs: Iterable[Record]) -> str:
    """The metric of a cell: the column's, unless its row has patterns."""
    for run, pattern in product(runs, row.metrics):
        named = [name for name in run.metrics if fnmatchcase(name, pattern)]
        if len(named) == 1:
            return named[0]
    return row.metrics[0] if row.metrics else columns


def ranked(table: Table, column: int = 0) -> Table:
    """The table with its rows sorted by a column, the best first, and each column's best marked.

    Rows without a figure there come last, in the order that they had.
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
    """Grows as a cell gets worse; infinite where it has no figure."""
    value = cell.value
    if value is None or cell.metric is None:
        return math.inf
    return value if costs.smaller_is_better(cell.metric) else -value


def _notes(table: Table) -> list[str]:
    """What the numbers were measured on, what was not averaged, and what no commit stands for."""
    runs = {run_name(run): run for row in table.cells for cell in row for run in cell.runs}
    complaints = [cell.complaint for row in table.cells for cell in row if cell.complaint]
    notes = _measured_on(table) + complaints
    if table.empty:
        notes.append("no record for this table yet")
    unclean = sum(run.git.clean is False for run in runs.values())
    unknown = sum(run.git.clean is None for run in runs.values())
    if unclean:
        notes.append(f"{unclean} of {len(runs)} records come from an uncommitted tree")
    if unknown:
        notes.append(f"{unknown} of {len(runs)} records do not know their commit")
    return notes


def _measured_on(table: Table) -> list[str]:
    """A note for each data set: how, on which split, how many samples, of which set.

    Where the cells of a data set differ in this, one note each, naming the backbones it is true of;
    where several data sets (or columns) have the same notes, they share them.
    """
    backbones, data_sets = _sides(table.declaration, table.rows, table.columns)
    by_row = table.declaration.backbones_in == "columns"
    sharing: dict[tuple[str, ...], list[str]] = {}
    for i, data_set in enumerate(data_sets):
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
            sharing.setdefault(lines, []).append(data_set.heading)
    return [f"{', '.join(headings)}{line}" for lines, headings in sharing.items() for line in lines]


def _measurement(cell: Cell) -> str:
    """How a cell's number was measured; empty for what is counted, not measured."""
    run = cell.runs[0]
    if cell.metric in run.metrics:
        measured, data = run.metrics[cell.metric], run.dataset
        stands_for = "" if data.name == data.mirrors else f", in place of {data.mirrors}"
        detail = f"{measured.detail}, " if measured.detail else ""
        return (
            f"{detail}{measured.samples} samples of split {measured.split} of {data.name}"
            f"{stands_for} (fingerprint {data.fingerprint[:8]})"
        )
    if cell.metric in costs.QUANTITIES and costs.QUANTITIES[cell.metric].of_hardware:
        return f"{run.cost.devices} x {run.cost.device}, {run.cost.precision}"
    return ""


def _skipped(complaints: Sequence[str]) -> list[str]:
    if not complaints:
        return []
    return [f"records skipped: {len(complaints)}", *(f"skipped: {it}" for it in complaints)]
