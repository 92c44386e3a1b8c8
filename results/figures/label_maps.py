"""Segmentations of several backbones on the same images, beside the ground truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from core.metrics import label_maps
from core.metrics.label_maps import LABEL_MAPS, LabelMaps
from core.record import Record
from results.figures.drawing import FigureError, FigureInputs, Plot, figure_of, plot
from results.figures.outputs import of_each, of_same_data, read, seeds_of
from results.figures.side_by_side import PIXELS, grid, shrunk

MOST_NAMED = 12  # classes in the legend: those with most pixels


def segmentations(inputs: FigureInputs) -> Plot:
    """One row for each image: the image if it is available, the ground truth, each segmentation.

    Raises:
        FigureError: no run has label maps.
    """
    found = of_same_data(inputs.records, "segment", LABEL_MAPS)
    kept, left_out = of_each(found, partial(read, name=LABEL_MAPS, load=label_maps.load))
    first = next(iter(kept.values()))
    for name in [name for name, it in kept.items() if it.images != first.images]:
        del kept[name]
        left_out += f" Left out: {name} (its label maps are of other images)."
    runs = {name: found[name][1] for name in kept}
    try:
        images = photographs(next(iter(runs.values())), inputs.data, first)
        without = ""
    except FigureError as error:
        images, without = [], f" The images are not shown: {error}."
    drawn = draw(kept, images, runs, inputs.protocol)
    return replace(drawn, caption=drawn.caption + without + left_out)


def photographs(run: Record, data_root: Path | None, kept: LabelMaps) -> list[Image.Image]:
    """The images of the label maps, scaled down.

    Raises:
        FigureError: there is no data folder, or an image is missing or damaged.
    """
    # importing mmengine takes a second, and only this function needs it
    from core import configs
    from core.errors import InputError

    if data_root is None:
        raise FigureError(f"needs the images of {run.dataset.name}: pass --data DIR")
    try:
        root = data_root / configs.config(run.dataset.name).root
    except InputError as error:
        raise FigureError(str(error)) from error
    return [shrunk(root / file)[0] for file in kept.files]


def colours(classes: int) -> NDArray[np.uint8]:
    """RGB [classes + 1, 3]: a colour per class, darker after every 60; black is unlabelled."""
    maps = [colormaps[name](np.arange(20))[:, :3] for name in ("tab20", "tab20b", "tab20c")]
    again, number = np.divmod(np.arange(classes), 60)
    palette = np.concatenate(maps)[number] * (0.7**again)[:, None]
    return np.concatenate([np.round(255 * palette), np.zeros((1, 3))]).astype(np.uint8)


def draw(
    kept: Mapping[str, LabelMaps],
    images: Sequence[Image.Image],
    runs: Mapping[str, Record],
    protocol: str,
) -> Plot:
    """One row for each image: the image if available, the ground truth, each segmentation."""
    run, first = next(iter(runs.values())), next(iter(kept.values()))
    palette = colours(len(first.classes))
    axes = grid(len(first.images), [*(["image"] if images else []), "ground truth", *kept])
    cells = iter(axes)
    for place in range(len(first.images)):
        if images:
            next(cells).imshow(np.asarray(images[place]))
        for labels in (first.truth[place], *(it.guess[place] for it in kept.values())):
            map_ = Image.fromarray(palette[np.minimum(labels.astype(int), len(first.classes))])
            map_.thumbnail((PIXELS, PIXELS), Image.Resampling.NEAREST)
            next(cells).imshow(np.asarray(map_), interpolation="nearest")
    pixels = np.bincount(np.concatenate([it.ravel() for it in first.truth]))[: len(first.classes)]
    most = [int(i) for i in np.argsort(-pixels, kind="stable")[:MOST_NAMED] if pixels[i]]
    patches = [Patch(color=tuple(palette[i] / 255), label=first.classes[i]) for i in most]
    figure_of(axes[0]).legend(handles=patches, loc="outside right center")
    return plot(
        axes[0],
        f"Segmentations of the same images (protocol {protocol})",
        f"{len(first.images)} of the {max(it.samples for it in run.metrics.values())} test images "
        f"of {run.dataset.name}, evenly spaced: {', '.join(first.images)}. The ground truth, then "
        f"each backbone's label map (task {run.task}, {seeds_of(runs)}); black is unlabelled. "
        f"The legend shows the classes with most pixels.",
    )
