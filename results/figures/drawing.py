"""Style of the figures, and reproducible, accessible SVG in the text colour of the page."""

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

INK = "#0a0b0c"  # a placeholder: `to_svg` replaces it with the text colour of the page
# Okabe and Ito's colours for colour-blind readers, without black and yellow: the others are
# visible on white and on black. Dashes repeat what the colour says.
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
    "text.parse_math": False,  # dollar signs in a name are no formula
    "xtick.color": INK,
    "ytick.color": INK,
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


class FigureError(Exception):
    """A figure cannot be drawn; the message says why."""


@dataclass(frozen=True)
class FigureInputs:
    """What figures are drawn from.

    Attributes:
        records: by file; the output files of a run are in the same folder.
        data: the folder of all datasets, for the images; None if it does not exist.
    """

    protocol: str
    records: Mapping[Path, Record]
    data: Path | None = None


@dataclass(frozen=True)
class Plot:
    """A figure with its title and its caption: the data, the number of samples and seeds."""

    figure: Figure
    title: str
    caption: str


def panels(count: int, columns: int = 2, width: float = 4.6, height: float = 3.2) -> list[Axes]:
    """`count` axes of a new figure, row by row; `width` and `height` of each in inches."""
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
    """The figure of these axes, with title and caption."""
    return Plot(figure_of(axes), title, caption)


def legend_beside(*all_axes: Axes) -> None:
    """Adds one legend at the right of a figure, with each name of these axes once."""
    named = {str(line.get_label()): line for axes in all_axes for line in axes.lines}
    shown = {name: line for name, line in named.items() if not name.startswith("_")}
    figure_of(all_axes[0]).legend(list(shown.values()), list(shown), loc="outside right center")


def label(name: str) -> str:
    """Protects a name for a legend: Matplotlib skips names that start with an underscore."""
    return f"\u200b{name}" if name.startswith("_") else name


def to_png(drawn: Plot) -> bytes:
    """A PNG on white."""
    buffer = io.BytesIO()
    drawn.figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def to_svg(drawn: Plot, name: str) -> str:
    """A transparent SVG element, for a page or as a file.

    Args:
        name: the prefix of every id, so that one page can have several figures.
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
