"""What several detectors found in the same pictures, side by side with what is there."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image

from core.metrics import detection
from core.metrics.detection import DetectionResults
from core.record import Record
from core.selection import SHOWN, evenly
from core.tasks import DETECTIONS
from results.figures.drawing import (
    COLOURS,
    INK,
    Material,
    NothingMeasuredError,
    Plot,
    label,
    panels,
    plot,
)
from results.figures.outputs import of_each, of_same_data, read, seeds_of

SURE = 0.5  # the score from which a detection is drawn
PIXELS = 256  # of a drawn picture's longer side


def chosen(kept: DetectionResults) -> list[str]:
    """A few images with objects, evenly over the test set, so that nobody has picked them."""
    with_objects = [
        name
        for name, truth in zip(kept.images, kept.ground_truth, strict=True)
        if len(truth.labels)
    ]
    return evenly(with_objects, SHOWN)


def picture_file(dataset: str, data_root: Path, name: str) -> Path:
    """Where a test picture of a set in VOC's layout lies."""
    # mmengine takes a second to import, and only this needs it
    from core import configs

    found = configs.config(dataset)
    ((year, _),) = found.parts["test"]
    return data_root / found.root / year / "JPEGImages" / f"{name}.jpg"


def detections(material: Material) -> Plot:
    """The same pictures for each detector, a row each.

    Raises:
        NothingMeasuredError: no run kept its detections, or the pictures are not here.
    """
    from core.errors import InputError

    found = of_same_data(material.records, "detect", DETECTIONS.name)
    run = next(iter(found.values()))[1]
    if material.data is None:
        raise NothingMeasuredError(f"needs the pictures of {run.dataset.name}: --data DIR")
    kept, left_out = of_each(found, partial(read, name=DETECTIONS.name, load=detection.load))
    names = chosen(next(iter(kept.values())))
    try:
        files = {name: picture_file(run.dataset.name, material.data, name) for name in names}
    except InputError as error:
        raise NothingMeasuredError(str(error)) from error
    if absent := [path for path in files.values() if not path.is_file()]:
        raise NothingMeasuredError(f"no picture {absent[0].name} of {run.dataset.name}: --data DIR")
    runs = {name: found[name][1] for name in kept}
    pictures = {name: shrunk(path) for name, path in files.items()}
    drawn = draw(pictures, kept, runs, material.protocol)
    return replace(drawn, caption=drawn.caption + left_out)


def opened(path: Path) -> Image.Image:
    """A picture in RGB.

    Raises:
        NothingMeasuredError: it is not here, or damaged.
    """
    try:
        with Image.open(path) as whole:
            return whole.convert("RGB")
    except OSError as error:
        raise NothingMeasuredError(f"{path}: not a readable picture ({error})") from error


def shrunk(path: Path) -> tuple[Image.Image, float]:
    """A picture of at most so many pixels, and by what its sides were multiplied."""
    image = opened(path)
    factor = min(1.0, PIXELS / max(image.size))
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height)), factor


def draw(
    pictures: Mapping[str, tuple[Image.Image, float]],
    kept: Mapping[str, DetectionResults],
    runs: Mapping[str, Record],
    protocol: str,
) -> Plot:
    run = next(iter(runs.values()))
    columns = 1 + len(kept)
    axes = grid(len(pictures), ["what is there", *kept])
    for row, (name, (image, factor)) in enumerate(pictures.items()):
        cells = axes[row * columns : (row + 1) * columns]
        for cell in cells:
            cell.imshow(np.asarray(image))
        first = next(iter(kept.values()))
        truth = first.ground_truth[first.images.index(name)]
        _boxes(
            cells[0], truth.boxes * factor, [first.classes[it] for it in truth.labels], COLOURS[2]
        )
        for cell, one in zip(cells[1:], kept.values(), strict=True):
            boxes = one.detections[one.images.index(name)]
            sure = boxes.scores >= SURE
            words = [
                f"{one.classes[i]} {score:.2f}"
                for i, score in zip(boxes.labels[sure], boxes.scores[sure], strict=True)
            ]
            _boxes(cell, boxes.boxes[sure] * factor, words, COLOURS[1])
    return plot(
        axes[0],
        f"What the detectors found in the same pictures (protocol {protocol})",
        f"{len(pictures)} of the {run.metrics['map'].samples if 'map' in run.metrics else 'many'} "
        f"test pictures of {run.dataset.name}, evenly spaced: {', '.join(pictures)}. Left what is "
        f"there, then each backbone's detections (task {run.task}, {seeds_of(runs)}) of a "
        f"score of {SURE} or more.",
    )


def grid(rows: int, heads: Sequence[str]) -> list[Axes]:
    """Axes for pictures, row by row, with a head over each column."""
    axes = panels(rows * len(heads), columns=len(heads), width=2.2, height=2.0)
    for cell in axes:
        cell.set(xticks=[], yticks=[])
        cell.spines[:].set_visible(False)
    for cell, head in zip(axes, heads, strict=False):
        cell.set_title(label(head), fontsize=9, color=INK)
    return axes


def _boxes(axes: Axes, boxes: Any, words: Sequence[str], colour: str) -> None:
    for (left, top, right, bottom), text in zip(boxes, words, strict=True):
        frame = Rectangle((left, top), right - left, bottom - top, fill=False, ec=colour, lw=1.2)
        axes.add_patch(frame)
        axes.text(
            left,
            top,
            text,
            fontsize=6,
            color="white",
            verticalalignment="top" if top < 12 else "bottom",  # within the picture
            clip_on=True,
            bbox=dict(facecolor=colour, edgecolor="none", pad=0.6),
        )


def with_jpeg(svg: str, quality: int = 85) -> str:
    """The same SVG with its bitmaps as JPEG where that is smaller: photographs, by ten times."""

    def smaller(match: re.Match[str]) -> str:
        png = Image.open(io.BytesIO(base64.b64decode(match[1]))).convert("RGB")
        buffer = io.BytesIO()
        png.save(buffer, format="jpeg", quality=quality)
        jpeg = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        return min(jpeg, match[0], key=len)

    return re.sub(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)", smaller, svg)
