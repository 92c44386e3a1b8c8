"""Detections of several backbones on the same images, beside the ground truth."""

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
    FigureError,
    FigureInputs,
    Plot,
    label,
    panels,
    plot,
)
from results.figures.outputs import of_each, of_same_data, read, seeds_of

MIN_SCORE = 0.5  # detections with a lower score are not drawn
PIXELS = 256  # the longer side of a drawn image


def chosen(kept: DetectionResults) -> list[str]:
    """A few images with objects, at equal distances in the test set, so not hand-picked."""
    with_objects = [
        name
        for name, truth in zip(kept.images, kept.ground_truth, strict=True)
        if len(truth.labels)
    ]
    return evenly(with_objects, SHOWN)


def image_file(dataset: str, data_root: Path, name: str) -> Path:
    """The file of a test image, for a dataset in VOC's layout."""
    # importing mmengine takes a second, and only this function needs it
    from core import configs

    found = configs.config(dataset)
    ((year, _),) = found.parts["test"]
    return data_root / found.root / year / "JPEGImages" / f"{name}.jpg"


def detections(inputs: FigureInputs) -> Plot:
    """One row for each image: the ground truth, then each backbone's detections.

    Raises:
        FigureError: no run has detections, or the images are missing.
    """
    from core.errors import InputError

    found = of_same_data(inputs.records, "detect", DETECTIONS.name)
    run = next(iter(found.values()))[1]
    if inputs.data is None:
        raise FigureError(f"needs the images of {run.dataset.name}: pass --data DIR")
    kept, left_out = of_each(found, partial(read, name=DETECTIONS.name, load=detection.load))
    names = chosen(next(iter(kept.values())))
    try:
        files = {name: image_file(run.dataset.name, inputs.data, name) for name in names}
    except InputError as error:
        raise FigureError(str(error)) from error
    if absent := [path for path in files.values() if not path.is_file()]:
        raise FigureError(f"no image {absent[0].name} of {run.dataset.name}: pass --data DIR")
    runs = {name: found[name][1] for name in kept}
    images = {name: shrunk(path) for name, path in files.items()}
    drawn = draw(images, kept, runs, inputs.protocol)
    return replace(drawn, caption=drawn.caption + left_out)


def read_image(path: Path) -> Image.Image:
    """Reads an image as RGB.

    Raises:
        FigureError: it is missing or damaged.
    """
    try:
        with Image.open(path) as whole:
            return whole.convert("RGB")
    except OSError as error:
        raise FigureError(f"{path}: not a readable image ({error})") from error


def shrunk(path: Path) -> tuple[Image.Image, float]:
    """An image whose longer side is at most PIXELS, and the scale factor."""
    image = read_image(path)
    factor = min(1.0, PIXELS / max(image.size))
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height)), factor


def draw(
    images: Mapping[str, tuple[Image.Image, float]],
    kept: Mapping[str, DetectionResults],
    runs: Mapping[str, Record],
    protocol: str,
) -> Plot:
    run = next(iter(runs.values()))
    columns = 1 + len(kept)
    axes = grid(len(images), ["ground truth", *kept])
    for row, (name, (image, factor)) in enumerate(images.items()):
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
            above = boxes.scores >= MIN_SCORE
            words = [
                f"{one.classes[i]} {score:.2f}"
                for i, score in zip(boxes.labels[above], boxes.scores[above], strict=True)
            ]
            _boxes(cell, boxes.boxes[above] * factor, words, COLOURS[1])
    return plot(
        axes[0],
        f"Detections on the same images (protocol {protocol})",
        f"{len(images)} of the {run.metrics['map'].samples if 'map' in run.metrics else 'many'} "
        f"test images of {run.dataset.name}, evenly spaced: {', '.join(images)}. Left the ground "
        f"truth, then each backbone's detections (task {run.task}, {seeds_of(runs)}) with a "
        f"score of {MIN_SCORE} or more.",
    )


def grid(rows: int, heads: Sequence[str]) -> list[Axes]:
    """Axes for images, row by row, with a heading over each column."""
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
            verticalalignment="top" if top < 12 else "bottom",  # stay inside the image
            clip_on=True,
            bbox=dict(facecolor=colour, edgecolor="none", pad=0.6),
        )


def with_jpeg(svg: str, quality: int = 85) -> str:
    """The SVG with bitmaps as JPEG where that is smaller: ten times for photographs."""

    def smaller(match: re.Match[str]) -> str:
        png = Image.open(io.BytesIO(base64.b64decode(match[1]))).convert("RGB")
        buffer = io.BytesIO()
        png.save(buffer, format="jpeg", quality=quality)
        jpeg = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        return min(jpeg, match[0], key=len)

    return re.sub(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)", smaller, svg)
