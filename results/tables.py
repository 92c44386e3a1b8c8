"""The papers' tables, ours beside published: pure functions of records and declarations."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from results.agreement import disagreement, run_name
from results.declarations import PAPER_RECIPES, Column, Declaration, Row, Where
from results.published import Published
from results.record import Record

DASH = "-"
RANDOM = "random*"  # the source of a backbone that was never trained: random:resnet50d
# What the data of a protocol are; a number from any of these is not comparable with the paper's.
SMALLER_DATA = {"demo": "rendered data", "mini": "small data"}


@dataclass(frozen=True)
class Cell:
    """One metric, in %: of our runs, one per seed, and as published.

    `runs` is empty where there is none, and where `complaint` says why they were not averaged.
    """

    runs: tuple[Record, ...]
    metric: str
    published: float | None
    complaint: str | None = None

    @property
    def values(self) -> list[float]:
        return [run.metrics[self.metric].value for run in self.runs]

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.runs else None

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation over seeds; None below two."""
        return statistics.stdev(self.values) if len(self.runs) > 1 else None

    @property
    def difference(self) -> float | None:
        """Ours minus published."""
        if self.mean is None or self.published is None:
            return None
        return self.mean - self.published


@dataclass(frozen=True)
class Table:
    """A declared table, filled: `cells` by row, then column."""

    declaration: Declaration
    protocol: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]


def build(
    declaration: Declaration,
    records: Sequence[Record],
    published: Published,
    skipped: Sequence[str] = (),
) -> Table:
    """Fill a table from records of one protocol.

    Args:
        published: the papers' tables; one that they do not have is shown without figures.
        skipped: complaints about records that could not be read, to be told below the table.

    Raises:
        ValueError: no record, or records of several protocols.
    """
    protocol = _only_protocol(records)
    rows = declaration.rows
    columns = declaration.columns + _found_columns(declaration, records)
    further = _further_backbones(declaration, columns, records)
    if declaration.backbones_in == "rows":
        rows += tuple(Row(name, where) for name, where in further.items())
    else:
        metric = declaration.columns[0].metric
        columns += tuple(
            Column(name, name, where, metric, published=False) for name, where in further.items()
        )
    cells = tuple(
        tuple(
            _cell(row, column, records, _figure(published, declaration.name, row, column))
            for column in columns
        )
        for row in rows
    )
    table = Table(declaration, protocol, rows, columns, cells, notes=())
    return replace(table, notes=(*_notes(table), *_skipped(skipped)))


def _only_protocol(records: Sequence[Record]) -> str:
    protocols = sorted({record.protocol for record in records})
    if len(protocols) != 1:
        raise ValueError(f"a table is of one protocol; these records are of {protocols or 'none'}")
    return protocols[0]


def _found_columns(declaration: Declaration, records: Iterable[Record]) -> tuple[Column, ...]:
    """A column for each metric of `found_metrics`, stage and data set that has a record."""
    found = {
        (record.stage, record.dataset.mirrors, metric)
        for record in records
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
    declaration: Declaration, columns: Sequence[Column], records: Iterable[Record]
) -> dict[str, Where]:
    """Backbones on the table's data sets that no row (or column) speaks of, by name, in order."""
    backbones, data_sets = _sides(declaration, declaration.rows, columns)
    found = {
        _backbone(record)
        for record in records
        if record.stage in declaration.further_stages
        and any(line.where.matches(record) for line in data_sets)
        and not any(line.where.matches(record) for line in backbones)
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


def _backbone(record: Record) -> tuple[str, Where]:
    """The name of a record's backbone, and which records are of the same.

    Random weights go by their architecture, every other backbone by its recipe or label.
    """
    architecture = record.backbone.architecture
    untrained = Where(architecture=architecture, sources=(RANDOM,))
    if untrained.matches(record):
        return f"random weights ({architecture})", untrained
    return record.recipe, Where(recipes=(record.recipe,))


def _figure(published: Published, table: str, row: Row, column: Column) -> float | None:
    """The published figure of a cell, or None where the paper has no such table, row or figure."""
    if table not in published or not column.published:
        return None
    if row.heading not in published[table].rows:
        return None  # a backbone of our own
    figure = published[table].figure(row.heading, column.key)
    return None if figure is None else float(figure)


def _cell(row: Row, column: Column, records: Iterable[Record], published: float | None) -> Cell:
    runs = tuple(
        record
        for record in records
        if row.where.matches(record)
        and column.where.matches(record)
        and column.metric in record.metrics
        and column.split in (None, record.metrics[column.metric].split)
    )
    if complaint := disagreement(runs, column.metric):
        runs = ()
        complaint = f"{row.heading}, {column.heading}: not averaged: {complaint}"
    return Cell(runs, column.metric, published, complaint)


def _notes(table: Table) -> list[str]:
    """What the numbers were measured on, what was not averaged, and what no commit stands for."""
    runs = {run_name(run): run for row in table.cells for cell in row for run in cell.runs}
    complaints = [cell.complaint for row in table.cells for cell in row if cell.complaint]
    notes = _measured_on(table) + complaints
    if not runs and not complaints:
        notes.append("no record for this table yet")
    unclean = sum(run.git.clean is False for run in runs.values())
    unknown = sum(run.git.clean is None for run in runs.values())
    if unclean:
        notes.append(f"{unclean} of {len(runs)} records come from an uncommitted tree")
    if unknown:
        notes.append(f"{unknown} of {len(runs)} records do not know their commit")
    return notes


def _measured_on(table: Table) -> list[str]:
    """One note per data set: how, on which split, how many samples, of which set.

    Where the cells of a data set differ in this, one note each, naming the backbones it is true of.
    """
    backbones, data_sets = _sides(table.declaration, table.rows, table.columns)
    by_row = table.declaration.backbones_in == "columns"
    notes = []
    for i, data_set in enumerate(data_sets):
        described: dict[str, list[str]] = {}
        for j, backbone in enumerate(backbones):
            cell = table.cells[i][j] if by_row else table.cells[j][i]
            if cell.runs:
                described.setdefault(_measurement(cell), []).append(backbone.heading)
        for measurement, headings in described.items():
            whose = f" of {'; '.join(headings)}" if len(described) > 1 else ""
            notes.append(f"{data_set.heading}{whose}: {measurement}")
    return notes


def _measurement(cell: Cell) -> str:
    run = cell.runs[0]
    measured = run.metrics[cell.metric]
    data = run.dataset
    stands_for = "" if data.name == data.mirrors else f", in place of {data.mirrors}"
    detail = f"{measured.detail}, " if measured.detail else ""
    return (
        f"{detail}{measured.samples} samples of split {measured.split} of {data.name}"
        f"{stands_for} (fingerprint {data.fingerprint[:8]})"
    )


def _skipped(complaints: Sequence[str]) -> list[str]:
    if not complaints:
        return []
    return [f"records skipped: {len(complaints)}", *(f"skipped: {it}" for it in complaints)]


def to_csv(table: Table) -> str:
    """Comma-separated values, two decimals; several seeds as their mean."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = [table.declaration.row_heading]
    for column in table.columns:
        header.append(column.key)
        if column.published:
            header += [f"{column.key} published", f"{column.key} difference"]
    writer.writerow(header)
    for row, cells in zip(table.rows, table.cells, strict=True):
        line = [row.heading]
        for column, cell in zip(table.columns, cells, strict=True):
            line.append(_number(cell.mean))
            if column.published:
                line += [_number(cell.published), _number(cell.difference)]
        writer.writerow(line)
    return text.getvalue()


def to_markdown(table: Table) -> str:
    """A Markdown table that GitHub renders and that is aligned where it is not rendered."""
    decimals = table.declaration.decimals
    ours = "ours" if table.protocol == "paper" else table.protocol
    header = [table.declaration.row_heading]
    for column in table.columns:
        header.append(f"{column.heading} ({ours})")
        if column.published:
            header += [f"{column.heading} published", "difference"]
    body = []
    for row, cells in zip(table.rows, table.cells, strict=True):
        line = [row.heading]
        for column, cell in zip(table.columns, cells, strict=True):
            line.append(_mean_over_seeds(cell, decimals))
            if column.published:
                line += [_number(cell.published, decimals), _number(cell.difference, decimals, "+")]
        body.append(line)
    parts = [f"## {table.declaration.title} (protocol {table.protocol})", _preamble(table)]
    parts.append(_aligned([header, *body]))
    parts.append("\n".join(f"- {_one_line(note)}" for note in table.notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def _preamble(table: Table) -> str:
    if table.protocol == "paper":
        return "All in %."
    data = SMALLER_DATA.get(table.protocol, "another protocol than the paper's")
    warning = f"These numbers come from {data} and are not comparable with the published ones"
    if any(column.published for column in table.columns):
        warning += "; the published figures are shown for the shape of the table only"
    return f"All in %. **{warning}.**"


def _mean_over_seeds(cell: Cell, decimals: int) -> str:
    text = _number(cell.mean, decimals)
    if cell.deviation is None:
        return text
    return f"{text} ± {_number(cell.deviation, decimals)} (n={len(cell.runs)})"


def _number(value: float | None, decimals: int = 2, sign: str = "") -> str:
    if value is None:
        return DASH
    rounded = round(value, decimals) + 0.0  # + 0.0: a negative zero would print its sign
    return f"{rounded:{sign}.{decimals}f}"


def _aligned(lines: list[list[str]]) -> str:
    """Lines of cells, the header first, as a Markdown table: names to the left, numbers right."""
    lines = [[_one_line(cell).replace("|", r"\|") for cell in line] for line in lines]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [[line[0].ljust(widths[0]), *(map(str.rjust, line[1:], widths[1:]))] for line in lines]
    padded.insert(1, rule)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def _one_line(text: str) -> str:
    return " ".join(text.split())
