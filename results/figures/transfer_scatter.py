"""Source accuracy against every downstream metric: ours and Bag of Tricks'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from core.record import RecordError
from results.analysis import transfer
from results.analysis.transfer import Points
from results.figures.drawing import (
    COLOURS,
    FigureError,
    FigureInputs,
    Plot,
    label,
    panels,
    plot,
)
from results.papers import published
from results.tables.fill import Table
from results.tables.index import Index
from results.tables.paper_table import Published


@dataclass(frozen=True)
class Metric:
    """One downstream metric: our points, the published points, and the data of ours."""

    name: str
    ours: Points
    published: Points
    data: str


def metrics(table: Table, figures: Published) -> list[Metric]:
    """Every metric of `transfer.table_of` that a backbone has.

    Args:
        figures: the papers' tables.
    """
    found = []
    for j, column in enumerate(table.columns[1:], start=1):
        ours = transfer.points(table, j)
        if not ours or column.unit != "%":
            continue
        data = dict.fromkeys(
            f"{run.metrics[str(column.metric)].samples} samples of {run.dataset.name}"
            for row, cells in zip(table.rows, table.cells, strict=True)
            if row.heading in ours
            for run in cells[j].runs
        )
        theirs = transfer.published_points(figures, column.key)
        found.append(Metric(column.key, ours, theirs, "; ".join(data)))
    return found


def transfer_figure(inputs: FigureInputs) -> Plot:
    """Our and the published points of each metric; in one plot only under the paper's protocol."""
    try:
        table = transfer.table_of(Index(list(inputs.records.values())))
    except RecordError as error:
        raise FigureError(str(error)) from error
    found = metrics(table, published.load())
    if not found:
        raise FigureError("no backbone has both a source accuracy and a downstream accuracy")
    return draw(found, inputs.protocol)


def draw(found: Sequence[Metric], protocol: str) -> Plot:
    same = protocol == "paper"
    axes = panels(len(found) if same else 2 * len(found), columns=2)
    for number, it in enumerate(found):
        ours, *apart = [axes[number]] if same else axes[2 * number : 2 * number + 2]
        _scatter(ours, it.ours, "ours", f"{it.name}, protocol {protocol}", it.name)
        if it.published:
            _scatter((*apart, ours)[0], it.published, "published", f"{it.name}, published", it.name)
        elif apart:
            apart[0].remove()
        if same and it.published:
            ours.set_title(f"{it.name}, ours and published")
            ours.legend()
    words = "; ".join(f"{it.name}: n={len(it.ours)} backbones, {it.data}" for it in found)
    return plot(
        axes[0],
        f"Source accuracy against downstream metrics (protocol {protocol})",
        f"Each point is one backbone, a mean over seeds. {words}. Hollow squares are Bag of "
        f"Tricks' tables 8 and 9, on the paper's data.",
    )


def _scatter(axes: Axes, points: Points, kind: str, title: str, name: str) -> None:
    """Draws and names each backbone; names avoid the border and the nearest point."""
    marker, colour, fill = {
        "ours": ("o", COLOURS[0], COLOURS[0]),
        "published": ("s", COLOURS[1], "none"),
    }[kind]
    in_order = sorted(points.items(), key=lambda it: it[1])
    x, y = np.array([point for _, point in in_order]).T
    axes.plot(x, y, marker, color=colour, markerfacecolor=fill, label=kind)
    for i, (backbone, point) in enumerate(in_order):
        right = point[0] > (x[0] + x[-1]) / 2
        others = sorted((j for j in range(len(x)) if j != i), key=lambda j: abs(x[j] - point[0]))
        below = bool(others) and point[1] < y[others[0]]
        axes.annotate(
            backbone,
            point,
            textcoords="offset points",
            xytext=(-4 if right else 4, -10 if below else 5),
            ha="right" if right else "left",
            fontsize=7,
        )
    axes.margins(0.15, 0.2)
    axes.set(title=label(title), xlabel="source top-1 (%)", ylabel=label(f"{name} (%)"))
