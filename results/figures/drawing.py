"""Figures as SVG: the same bytes each time, in the page's colours, and with words to read out."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from core.record import Record

INK = "#0a0b0c"  # stands for the colour of the text around the figure until the SVG is written
# Okabe and Ito's, which the colour-blind can tell apart, without black and yellow: these are seen
# on white and on black. A line's dashes tell the same as its colour.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("-", "--", "-.", ":")
MARKERS = "os^Dv"
STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.prop_cycle": cycler(linestyle=DASHES) * cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.size": 10,
    "hatch.color": INK,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "savefig.dpi": 150,
    "svg.fonttype": "none",  # text stays text
    "text.color": INK,
    "text.parse_math": False,  # a name with two dollar signs is a name
    "xtick.color": INK,
    "ytick.color": INK,
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


class NothingMeasuredError(Exception):
    """A figure that cannot be drawn; the message says what there is none of."""


@dataclass(frozen=True)
class Material:
    """What figures are drawn from.

    Attributes:
        protocol: of all records.
        records: by their files, beside which lie what else the runs have kept.
        data: the folder of all data sets, for the images; None where there is none.
    """

    protocol: str
    records: Mapping[Path, Record]
    data: Path | None = None


@dataclass(frozen=True)
class Plot:
    """A drawn figure, and what it says in words: which data, how many samples and seeds."""

    figure: Figure
    title: str
    caption: str


def panels(count: int, columns: int = 2, width: float = 4.6, height: float = 3.2) -> list[Axes]:
    """So many axes of a new figure, row by row; sizes of each in inches."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = Figure(figsize=(columns * width, rows * height))
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for empty in axes[count:]:
        empty.remove()
    return axes[:count]


def figure_of(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def plot(axes: Axes, title: str, caption: str) -> Plot:
    """The figure that some axes are of, with its words."""
    return Plot(figure_of(axes), title, caption)


def legend_beside(*all_axes: Axes) -> None:
    """One legend at the right of a figure, for all lines of these axes, each name once."""
    named = {str(line.get_label()): line for axes in all_axes for line in axes.lines}
    shown = {name: line for name, line in named.items() if not name.startswith("_")}
    figure_of(all_axes[0]).legend(list(shown.values()), list(shown), loc="outside right center")


def label(name: str) -> str:
    """A name for a legend, which leaves out names that open with an underscore."""
    return f"\u200b{name}" if name.startswith("_") else name


def to_png(drawn: Plot) -> bytes:
    """A bitmap on white."""
    buffer = io.BytesIO()
    drawn.figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def to_svg(drawn: Plot, name: str) -> str:
    """An SVG element, for a page or as a file of its own, on no background.

    Args:
        name: opens every id in it, so that several can stand on one page.
    """
    buffer = io.StringIO()
    drawn.figure.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    said = "".join(
        f'<{tag} id="{name}-{tag}">{html.escape(words)}</{tag}>\n'
        for tag, words in (("title", drawn.title), ("desc", drawn.caption))
    )
    head, end, rest = text.partition(">")
    named = f' role="img" aria-labelledby="{name}-title {name}-desc"'
    return f"{head}{named}{end}\n{said}{rest.lstrip()}"
