"""What several segmenters make of the same images, side by side with what is there."""

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
from results.figures.drawing import Material, NothingMeasuredError, Plot, figure_of, plot
from results.figures.outputs import of_each, of_same_data, read, seeds_of
from results.figures.side_by_side import PIXELS, grid, shrunk

MOST_NAMED = 12  # classes in the legend, those of most pixels


def segmentations(material: Material) -> Plot:
    """The label maps of each segmenter, and the images that they are of where these are here.

    Raises:
        NothingMeasuredError: no run kept its label maps.
    """
    found = of_same_data(material.records, "segment", LABEL_MAPS)
    kept, left_out = of_each(found, partial(read, name=LABEL_MAPS, load=label_maps.load))
    first = next(iter(kept.values()))
    for name in [name for name, it in kept.items() if it.images != first.images]:
        del kept[name]
        left_out += f" Left out: {name} (it kept other images)."
    runs = {name: found[name][1] for name in kept}
    try:
        images = photographs(next(iter(runs.values())), material.data, first)
        without = ""
    except NothingMeasuredError as error:
        images, without = [], f" The images themselves are not shown: {error}."
    drawn = draw(kept, images, runs, material.protocol)
    return replace(drawn, caption=drawn.caption + without + left_out)


def photographs(run: Record, data_root: Path | None, kept: LabelMaps) -> list[Image.Image]:
    """The images that the label maps are of, made small.

    Raises:
        NothingMeasuredError: there is no folder of data, or one of them is not there, or damaged.
    """
    # mmengine takes a second to import, and only this needs it
    from core import configs
    from core.errors import InputError

    if data_root is None:
        raise NothingMeasuredError(f"needs the images of {run.dataset.name}: --data DIR")
    try:
        root = data_root / configs.config(run.dataset.name).root
    except InputError as error:
        raise NothingMeasuredError(str(error)) from error
    return [shrunk(root / file)[0] for file in kept.files]


def colours(classes: int) -> NDArray[np.uint8]:
    """RGB [classes + 1, 3] of each class, darker from each 60th on, and black for what has none."""
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
    """A row for each image: itself, where it is here, its truth, and what each backbone says."""
    run, first = next(iter(runs.values())), next(iter(kept.values()))
    palette = colours(len(first.classes))
    axes = grid(len(first.images), [*(["image"] if images else []), "what is there", *kept])
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
        f"What the segmenters make of the same images (protocol {protocol})",
        f"{len(first.images)} of the {max(it.samples for it in run.metrics.values())} test images "
        f"of {run.dataset.name}, evenly spaced: {', '.join(first.images)}. What is there, then "
        f"each backbone's label map (task {run.task}, {seeds_of(runs)}); black is not labelled. "
        f"The legend has the classes of most pixels.",
    )
