"""What several detectors found in the same pictures, side by side with what is there."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image

from core.metrics import detection
from core.metrics.detection import DetectionResults
from core.record import Record, RecordError
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
from results.stats.per_image import DAMAGED
from results.store import query
from results.tables.spec import PAPER_RECIPES

PICTURES, BACKBONES = 3, 5
SURE = 0.5  # the score from which a detection is drawn
PIXELS = 256  # of a drawn picture's longer side

T = TypeVar("T")


def of_same_data(
    records: Mapping[Path, Record], stage: str, kept: str
) -> dict[str, tuple[Path, Record]]:
    """One run of each backbone that kept such a file, all on the same data.

    Of several data sets and tasks the one with most backbones, and the lowest seed of each. In
    the papers' order; of many, some evenly over it, the first and the last among them.

    Args:
        kept: pattern of a file's name beside the record.

    Raises:
        NothingMeasuredError: no run of the stage has one.
    """
    groups: dict[tuple[str, str], dict[str, tuple[Path, Record]]] = {}
    for path, run in sorted(records.items(), key=lambda it: (it[1].seed, it[0])):
        if run.stage == stage and any(path.parent.glob(kept)):
            group = groups.setdefault((run.task, run.dataset.fingerprint), {})
            group.setdefault(run.recipe, (path, run))
    if not groups:
        raise NothingMeasuredError(f"no run of the stage {stage} has kept its {kept}")
    group = max(groups.values(), key=len)

    def place(name: str) -> tuple[int, str]:
        paper = PAPER_RECIPES.index(name) if name in PAPER_RECIPES else len(PAPER_RECIPES)
        return paper, name

    return {name: group[name] for name in evenly(sorted(group, key=place), BACKBONES)}


def evenly(names: Sequence[str], count: int) -> list[str]:
    """So many of the names, the first and the last among them; all, if there are no more."""
    places = np.linspace(0, len(names) - 1, min(count, len(names)))
    return [names[round(place)] for place in places]


def chosen(kept: DetectionResults) -> list[str]:
    """A few images with objects, evenly over the test set, so that nobody has picked them."""
    with_objects = [
        name
        for name, truth in zip(kept.images, kept.ground_truth, strict=True)
        if len(truth.labels)
    ]
    return evenly(with_objects, PICTURES)


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
    kept, left_out = of_each(found, kept_by)
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


def kept_by(path: Path, run: Record) -> DetectionResults:
    """What a run has found in each image.

    Raises:
        NothingMeasuredError: the file is not the record's, or damaged.
    """
    try:
        file = query.output(path.parent, run, DETECTIONS.name)
    except RecordError as error:
        raise NothingMeasuredError(str(error)) from error
    if file is None:
        raise NothingMeasuredError(f"{path} names no {DETECTIONS.name}")
    try:
        return detection.load(file)
    except DAMAGED as error:
        raise NothingMeasuredError(f"{file}: not readable ({error})") from error


def of_each(
    found: Mapping[str, tuple[Path, Record]], read: Callable[[Path, Record], T]
) -> tuple[dict[str, T], str]:
    """What is read of each backbone's run, and a caption's words on those that cannot be.

    Raises:
        NothingMeasuredError: none can.
    """
    there: dict[str, T] = {}
    failed: dict[str, str] = {}
    for name, (path, run) in found.items():
        try:
            there[name] = read(path, run)
        except NothingMeasuredError as error:
            failed[name] = str(error)
    if not there:
        raise NothingMeasuredError("; ".join(dict.fromkeys(failed.values())))
    return there, "".join(f" Left out: {name} ({reason})." for name, reason in failed.items())


def seeds_of(runs: Mapping[str, Record]) -> str:
    """ "seed 0", or each backbone's where they differ."""
    if len(seeds := {run.seed for run in runs.values()}) == 1:
        return f"seed {seeds.pop()}"
    return f"seeds: {', '.join(f'{name} {run.seed}' for name, run in runs.items())}"


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
