"""Every figure, by its name: drawn from records, or the reason why it is not."""

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
from results.figures.drawing import STYLE, Material, NothingMeasuredError, Plot, to_png, to_svg

FIGURES: dict[str, Callable[[Material], Plot]] = {
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
class Drawn:
    """A figure as SVG and PNG; or `reason`, and nothing was drawn."""

    name: str
    title: str = ""
    caption: str = ""
    svg: str = ""
    png: bytes = b""
    reason: str = ""


def draw(name: str, material: Material) -> Drawn:
    """One figure; the same records give the same bytes."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        try:
            plot = FIGURES[name](material)
        except NothingMeasuredError as error:
            return Drawn(name, reason=str(error))
        svg = side_by_side.with_jpeg(to_svg(plot, name))
        return Drawn(name, plot.title, plot.caption, svg, to_png(plot))


def draw_all(material: Material) -> list[Drawn]:
    return [draw(name, material) for name in FIGURES]


def write_all(material: Material, out: Path) -> Iterator[str]:
    """Writes each figure's .svg and .png below a folder, and says which, or why not.

    Raises:
        OSError: the folder cannot be written.
    """
    for it in draw_all(material):
        if it.reason:
            yield f"{it.name}: not drawn: {it.reason}"
            continue
        write_atomically(out / f"{it.name}.svg", it.svg.encode())
        write_atomically(out / f"{it.name}.png", it.png)
        yield f"{out / it.name}.svg, .png: {it.title}. {it.caption}"
