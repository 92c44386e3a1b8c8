"""Tables as text: Markdown, CSV, LaTeX and HTML."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable
from dataclasses import dataclass

from results import quantities
from results.declarations import Column
from results.published import Figure
from results.tables import Cell, Table

DASH = "-"
# What the data of a protocol are; a number from any of these is not comparable with the paper's.
SMALLER_DATA = {"demo": "rendered data", "mini": "small data"}


@dataclass(frozen=True)
class Grid:
    """A table as readers see it: heads, lines of cells, and which of these are a column's best."""

    title: str
    preamble: str
    warning: str
    head: list[str]
    lines: list[list[str]]
    bold: frozenset[tuple[int, int]]  # line, cell
    notes: tuple[str, ...]


def grid(table: Table) -> Grid:
    """The cells of a table as text: ours, published and difference side by side."""
    ours = "ours" if table.protocol == "paper" else table.protocol
    head = [table.declaration.row_heading]
    places = []  # of our own figures among the cells of a line
    for column in table.columns:
        places.append(len(head))
        if column.metric is None:
            head.append(column.heading)
            continue
        head.append(f"{column.heading} ({ours})")
        if column.published:
            head += [f"{column.heading} published", "difference"]
    lines = []
    for row, cells in zip(table.rows, table.cells, strict=True):
        line = [row.heading]
        for column, cell in zip(table.columns, cells, strict=True):
            decimals = _decimals(table, column)
            if column.metric is None:
                line.append(_figure(cell.published, None))
                continue
            line.append(_over_seeds(cell, decimals))
            if column.published:
                line += [
                    _figure(cell.published, decimals),
                    _number(cell.difference, decimals, "+"),
                ]
        lines.append(line)
    return Grid(
        title=f"{table.declaration.title} (protocol {table.protocol})",
        preamble=_preamble(table),
        warning=_warning(table),
        head=head,
        lines=lines,
        bold=frozenset((i, places[j]) for i, j in table.best),
        notes=tuple(map(_one_line, table.notes)),
    )


def to_markdown(table: Table) -> str:
    """A Markdown table that GitHub renders and that is aligned where it is not rendered."""
    shown = grid(table)
    warning = f"**{shown.warning}.**" if shown.warning else ""
    lines = [
        [f"**{cell}**" if (i, j) in shown.bold else cell for j, cell in enumerate(line)]
        for i, line in enumerate(shown.lines)
    ]
    parts = [f"## {shown.title}", f"{shown.preamble} {warning}".strip()]
    parts.append(_aligned([shown.head, *lines]))
    parts.append("\n".join(f"- {note}" for note in shown.notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def to_csv(table: Table) -> str:
    """Comma-separated values, with two decimals or as many as the reader sees.

    Of several seeds the mean (or what else the column is), their standard deviation and number.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = [table.declaration.row_heading]
    for column in table.columns:
        header.append(column.key)
        if column.metric is None:
            continue
        if column.reduce == "mean":
            header += [f"{column.key} std", f"{column.key} n"]
        if column.published:
            header += [f"{column.key} published", f"{column.key} difference"]
    writer.writerow(header)
    for row, cells in zip(table.rows, table.cells, strict=True):
        line = [row.heading]
        for column, cell in zip(table.columns, cells, strict=True):
            if column.metric is None:
                line.append(_figure(cell.published, None))
                continue
            decimals = max(2, _decimals(table, column))
            line.append(_number(cell.value, decimals))
            if column.reduce == "mean":
                line += [_number(cell.deviation, decimals), str(len(cell.runs))]
            if column.published:
                line += [_figure(cell.published, decimals), _number(cell.difference, decimals)]
        writer.writerow(line)
    return text.getvalue()


_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
}


def to_latex(table: Table) -> str:
    r"""A table environment of booktabs', for a document that says \usepackage{booktabs}."""
    shown = grid(table)

    def cells(line: list[str], number: int | None = None) -> str:
        words = [DASH * 2 if cell == DASH else _latex(cell) for cell in line]
        bold = [
            rf"\textbf{{{it}}}" if (number, j) in shown.bold else it for j, it in enumerate(words)
        ]
        # a line that opens with a bracket would be read as an argument of the \\ before it
        return "  {}" + " & ".join(bold) + r" \\"

    warning = rf" \textbf{{{_latex(shown.warning)}.}}" if shown.warning else ""
    notes = [rf"  \par\footnotesize {_latex(note)}" for note in shown.notes]
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_latex(shown.title)}. {_latex(shown.preamble)}{warning}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(shown.head) - 1)}}}",
        r"  \toprule",
        cells(shown.head),
        r"  \midrule",
        *(cells(line, number) for number, line in enumerate(shown.lines)),
        r"  \bottomrule",
        r"  \end{tabular}",
        *notes,
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in _one_line(text))


def to_html(table: Table) -> str:
    """A page of its own, with nothing to load."""
    shown = grid(table)

    def cells(line: list[str], tag: str, number: int | None = None) -> str:
        words = [html.escape(_one_line(cell)) for cell in line]
        bold = [f"<b>{it}</b>" if (number, j) in shown.bold else it for j, it in enumerate(words)]
        return f"<tr>{''.join(f'<{tag}>{it}</{tag}>' for it in bold)}</tr>"

    title, warning = html.escape(shown.title), html.escape(shown.warning)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f"<title>{title}</title>",
            "<style>",
            "body { font-family: sans-serif; }",
            "table { border-collapse: collapse; }",
            "th, td { padding: 0.2em 0.6em; text-align: right; border-bottom: 1px solid #ccc; }",
            "th:first-child, td:first-child { text-align: left; }",
            "</style>",
            "</head>",
            "<body>",
            f"<h1>{title}</h1>",
            f"<p>{html.escape(shown.preamble)}"
            + (f" <b>{warning}.</b>" if warning else "")
            + "</p>",
            "<table>",
            f"<thead>{cells(shown.head, 'th')}</thead>",
            "<tbody>",
            *(cells(line, "td", number) for number, line in enumerate(shown.lines)),
            "</tbody>",
            "</table>",
            "<ul>",
            *(f"<li>{html.escape(note)}</li>" for note in shown.notes),
            "</ul>",
            "</body>",
            "</html>",
            "",
        ]
    )


FORMATS: dict[str, Callable[[Table], str]] = {
    "markdown": to_markdown,
    "csv": to_csv,
    "latex": to_latex,
    "html": to_html,
}
SUFFIXES = {"markdown": ".md", "csv": ".csv", "latex": ".tex", "html": ".html"}


def _preamble(table: Table) -> str:
    """The unit: of everything, or of what has no other in its heading."""
    measured = [column for column in table.columns if column.metric is not None]
    percent = [it.unit == "%" and it.metric not in quantities.QUANTITIES for it in measured]
    if all(percent):
        return "All in %."
    return "Accuracies in %." if any(percent) else ""


def _warning(table: Table) -> str:
    if table.protocol == "paper":
        return ""
    data = SMALLER_DATA.get(table.protocol, "another protocol than the paper's")
    warning = f"These numbers come from {data} and are not comparable with the published ones"
    if any(column.published for column in table.columns):
        warning += "; the published figures are shown for the shape of the table only"
    return warning


def _decimals(table: Table, column: Column) -> int:
    return table.declaration.decimals if column.decimals is None else column.decimals


def _over_seeds(cell: Cell, decimals: int) -> str:
    text = _number(cell.value, decimals)
    if cell.deviation is None:
        return text
    return f"{text} ± {_number(cell.deviation, decimals)} (n={len(cell.runs)})"


def _figure(value: Figure, decimals: int | None) -> str:
    """A published figure, with so many decimals; as it is printed, if that is None."""
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
