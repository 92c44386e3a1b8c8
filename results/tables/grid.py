"""Text in rows and columns, as Markdown, CSV or LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

DASH = "-"


@dataclass(frozen=True)
class Grid:
    """A table as readers see it. `bold` has the (line, column) of each bold cell."""

    title: str
    preamble: str
    warning: str
    head: list[str]
    lines: list[list[str]]
    bold: frozenset[tuple[int, int]]
    notes: tuple[str, ...]


def span(counts: Collection[int]) -> str:
    """The range of some counts: "3", or "1 to 3" if they differ."""
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def markdown(shown: Grid) -> str:
    """A Markdown table for GitHub, with aligned columns so that the source is readable too."""
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
    """CSV. The first line is the header."""
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
    r"""A LaTeX table environment. The document needs \usepackage{booktabs}."""

    def cells(line: list[str], number: int | None = None) -> str:
        words = [DASH * 2 if cell == DASH else _latex(cell) for cell in line]
        bold = [
            rf"\textbf{{{it}}}" if (number, j) in shown.bold else it for j, it in enumerate(words)
        ]
        # without {}, LaTeX reads a line that starts with "[" as an argument of the \\ before it
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


GRID_FORMATS: dict[str, Callable[[Grid], str]] = {
    "markdown": markdown,
    "csv": lambda shown: comma_separated([shown.head, *shown.lines]),
    "latex": latex,
}


def _piped(lines: list[list[str]]) -> str:
    """A Markdown table; the first line is the header, the first column is left-aligned."""
    lines = [[one_line(cell).replace("|", r"\|") for cell in line] for line in lines]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [[line[0].ljust(widths[0]), *(map(str.rjust, line[1:], widths[1:]))] for line in lines]
    padded.insert(1, rule)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def one_line(text: str) -> str:
    return " ".join(text.split())
