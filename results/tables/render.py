"""Tables as text: Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Callable

from results.store import costs
from results.tables.fill import Cell, Table
from results.tables.grid import DASH, Grid, comma_separated, latex, markdown, one_line
from results.tables.paper_table import Figure
from results.tables.spec import Column

WITHIN_NOISE = "~"
# Protocols on smaller data: their numbers are not comparable with the papers'.
_SMALLER_DATA = {"demo": "rendered data", "mini": "small data", "mini-cpu": "small data"}


def grid(table: Table) -> Grid:
    """The cells of a table as text: measured, published and difference side by side."""
    ours = side(table.protocol)
    head = [table.spec.row_heading]
    places = []  # positions of the measured values in a line
    for column in table.columns:
        places.append(len(head))
        if column.metric is None:
            head.append(column.heading)
            continue
        head.append(f"{column.heading} ({ours})")
        if column.published:
            head += [f"{column.heading} published", "difference"]
    lines = []
    for i, (row, cells) in enumerate(zip(table.rows, table.cells, strict=True)):
        line = [row.heading]
        for j, (column, cell) in enumerate(zip(table.columns, cells, strict=True)):
            decimals = _decimals(table, column)
            if column.metric is None:
                line.append(_figure(cell.published, None))
                continue
            noise = f" {WITHIN_NOISE}" if (i, j) in (table.within_noise or ()) else ""
            line.append(_over_seeds(cell, decimals) + noise)
            if column.published:
                line += [
                    _figure(cell.published, decimals),
                    _number(cell.difference, decimals, "+"),
                ]
        lines.append(line)
    return Grid(
        title=f"{table.spec.title} (protocol {table.protocol})",
        preamble=_preamble(table),
        warning=_warning(table),
        head=head,
        lines=lines,
        bold=frozenset((i, places[j]) for i, j in table.best),
        notes=tuple(map(one_line, table.notes)),
    )


def to_markdown(table: Table) -> str:
    return markdown(grid(table))


def to_latex(table: Table) -> str:
    return latex(grid(table))


def to_csv(table: Table) -> str:
    """Comma-separated values, with at least two decimals.

    A mean over seeds has two more columns: its standard deviation and the number of seeds. A table
    with `within_noise` has a column that marks values within the noise of the column's best.
    """
    header = [table.spec.row_heading]
    for column in table.columns:
        header.append(column.key)
        if column.metric is not None:
            header += [f"{column.key} {name}" for name in _beside(table, column)]
    lines = [header]
    for i, (row, cells) in enumerate(zip(table.rows, table.cells, strict=True)):
        line = [row.heading]
        for j, (column, cell) in enumerate(zip(table.columns, cells, strict=True)):
            if column.metric is None:
                line.append(_figure(cell.published, None))
                continue
            decimals = max(2, _decimals(table, column))
            line.append(_number(cell.value, decimals))
            if column.reduce == "mean":
                line += [_number(cell.deviation, decimals), str(len(cell.runs))]
            if column.published:
                line += [_figure(cell.published, decimals), _number(cell.difference, decimals)]
            if table.within_noise is not None:
                line.append(WITHIN_NOISE if (i, j) in table.within_noise else "")
        lines.append(line)
    return comma_separated(lines)


def _beside(table: Table, column: Column) -> list[str]:
    """The CSV columns after a measured value."""
    names = ["std", "n"] if column.reduce == "mean" else []
    names += ["published", "difference"] if column.published else []
    return names + (["within noise"] if table.within_noise is not None else [])


FORMATS: dict[str, Callable[[Table], str]] = {
    "markdown": to_markdown,
    "csv": to_csv,
    "latex": to_latex,
}
SUFFIXES = {"markdown": ".md", "csv": ".csv", "latex": ".tex"}


def _preamble(table: Table) -> str:
    """The unit of all values, or of those whose heading has none."""
    measured = [column for column in table.columns if column.metric is not None]
    percent = [it.unit == "%" and it.metric not in costs.COSTS for it in measured]
    if all(percent):
        return "All in %."
    return "Accuracies in %." if any(percent) else ""


def _warning(table: Table) -> str:
    warning = not_comparable(table.protocol)
    if warning and any(column.published for column in table.columns):
        warning += "; the published values only show the layout of the table"
    return warning


def side(protocol: str) -> str:
    """The name of the measured values beside the published ones."""
    return "ours" if protocol == "paper" else protocol


def not_comparable(protocol: str) -> str:
    """A warning that a protocol's numbers cannot be compared with the papers'; "" for `paper`."""
    if protocol == "paper":
        return ""
    data = _SMALLER_DATA.get(protocol, "a different protocol")
    return f"These numbers come from {data} and are not comparable with the published ones"


def _decimals(table: Table, column: Column) -> int:
    return table.spec.decimals if column.decimals is None else column.decimals


def _over_seeds(cell: Cell, decimals: int) -> str:
    text = _number(cell.value, decimals)
    if cell.deviation is None:
        return text
    return f"{text} ± {_number(cell.deviation, decimals)} (n={len(cell.runs)})"


def _figure(value: Figure, decimals: int | None) -> str:
    """A published value, rounded to `decimals`; as the paper prints it, if that is None."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if decimals is None or isinstance(value, str):
        return str(value)
    return _number(value, decimals)


def _number(value: float | None, decimals: int = 2, sign: str = "") -> str:
    if value is None:
        return DASH
    rounded = round(value, decimals) + 0.0  # + 0.0: a negative zero would print its sign
    return f"{rounded:{sign}.{decimals}f}"
