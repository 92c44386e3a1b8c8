"""Text in rows and columns: as Markdown, CSV, LaTeX and HTML, or aligned for a terminal."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

DASH = "-"


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


def span(counts: Collection[int]) -> str:
    """ "3", or "1 to 3" where they differ."""
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def markdown(shown: Grid) -> str:
    """A Markdown table that GitHub renders and that is aligned where it is not rendered."""
    warning = f"**{shown.warning}.**" if shown.warning else ""
    lines = [
        [f"**{cell}**" if (i, j) in shown.bold else cell for j, cell in enumerate(line)]
        for i, line in enumerate(shown.lines)
    ]
    parts = [f"## {shown.title}", f"{shown.preamble} {warning}".strip()]
    parts.append(_piped([shown.head, *lines]))
    parts.append("\n".join(f"- {note}" for note in shown.notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def comma_separated(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as CSV, the header first."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
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


def latex(shown: Grid) -> str:
    r"""A table environment of booktabs', for a document that says \usepackage{booktabs}."""

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
    return "".join(_LATEX.get(character, character) for character in one_line(text))


def html_page(shown: Grid) -> str:
    """A page of its own, with nothing to load."""

    def cells(line: list[str], tag: str, number: int | None = None) -> str:
        words = [html.escape(one_line(cell)) for cell in line]
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


GRID_FORMATS: dict[str, Callable[[Grid], str]] = {
    "markdown": markdown,
    "csv": lambda shown: comma_separated([shown.head, *shown.lines]),
    "latex": latex,
    "html": html_page,
}


def _piped(lines: list[list[str]]) -> str:
    """Lines of cells, the header first, as a Markdown table: names to the left, numbers right."""
    lines = [[one_line(cell).replace("|", r"\|") for cell in line] for line in lines]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [[line[0].ljust(widths[0]), *(map(str.rjust, line[1:], widths[1:]))] for line in lines]
    padded.insert(1, rule)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def one_line(text: str) -> str:
    return " ".join(text.split())
