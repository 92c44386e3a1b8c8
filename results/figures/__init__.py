"""All figures by name, drawn from records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib

from core.files import write_atomically
from results.figures import (
    accuracy,
    label_maps,
    side_by_side,
    smoothing_gap,
    training_curves,
    transfer_scatter,
)
from results.figures.drawing import STYLE, FigureError, FigureInputs, Plot, to_png, to_svg

FIGURES: dict[str, Callable[[FigureInputs], Plot]] = {
    "learning-rate": training_curves.lr_schedules,
    "step-and-cosine": training_curves.validation_curves,
    "training-curves": training_curves.training_curves,
    "smoothing-gap": smoothing_gap.smoothing_gap,
    "seeds": accuracy.seeds,
    "resolutions": accuracy.resolutions,
    "transfer": transfer_scatter.transfer_figure,
    "detections": side_by_side.detections,
    "segmentations": label_maps.segmentations,
}


@dataclass(frozen=True)
class RenderedFigure:
    """A figure as SVG and PNG, or the `reason` why it cannot be drawn."""

    name: str
    title: str = ""
    caption: str = ""
    svg: str = ""
    png: bytes = b""
    reason: str = ""


def draw(name: str, inputs: FigureInputs) -> RenderedFigure:
    """Draws one figure; the same records give the same bytes."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        try:
            plot = FIGURES[name](inputs)
        except FigureError as error:
            return RenderedFigure(name, reason=str(error))
        svg = side_by_side.with_jpeg(to_svg(plot, name))
        return RenderedFigure(name, plot.title, plot.caption, svg, to_png(plot))


def draw_all(inputs: FigureInputs) -> list[RenderedFigure]:
    return [draw(name, inputs) for name in FIGURES]


def write_all(inputs: FigureInputs, out: Path) -> Iterator[str]:
    """Writes .svg and .png files; yields one line for each figure: its path, or why it has none.

    Raises:
        OSError: the folder cannot be written.
    """
    for it in draw_all(inputs):
        if it.reason:
            yield f"{it.name}: not drawn: {it.reason}"
            continue
        write_atomically(out / f"{it.name}.svg", it.svg.encode())
        write_atomically(out / f"{it.name}.png", it.png)
        yield f"{out / it.name}.svg, .png: {it.title}. {it.caption}"
