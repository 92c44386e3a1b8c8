"""A contact sheet: examples of every dataset with classes, boxes and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image, ImageDraw

from demo.imagenet import object_image
from demo.scenes import PLACES, stuff_and_things
from demo.seeding import generator
from demo.taxonomy import ADE_STUFF, ADE_THINGS, CIFAR10, IMAGENET
from demo.voc import object_scene

_COLUMNS = 10
_CELL = 128  # pixels: the side of an example's square
_CAPTION = 14  # pixels below the square


def label_colours() -> np.ndarray:
    """A colour for each SceneParse150 id, uint8 [151, 3]; 0, "ignore", is black."""
    colours = generator(0, "label colours").integers(40, 256, (151, 3)).astype(np.uint8)
    colours[0] = 0
    return colours


def _objects(seed: int) -> Iterable[tuple[Image.Image, str]]:
    for wnid, looks in IMAGENET.items():
        pixels = object_image(generator(seed, "sheet", wnid), looks, 112, 112)
        yield Image.fromarray(pixels), f"{looks.texture} {looks.shape}"


def _tiny_objects(seed: int) -> Iterable[tuple[Image.Image, str]]:
    for name, looks in CIFAR10.items():
        pixels = object_image(generator(seed, "sheet", name), looks, 64, 64)
        tiny = Image.fromarray(pixels).resize((32, 32), Image.Resampling.BOX)
        yield tiny.resize((_CELL, _CELL), Image.Resampling.NEAREST), f"cifar: {name}"


def _boxes(seed: int) -> Iterable[tuple[Image.Image, str]]:
    for index in range(2 * _COLUMNS):
        pixels, instances = object_scene(generator(seed, "sheet", "voc", index), 120, 160)
        image = Image.fromarray(pixels)
        draw = ImageDraw.Draw(image)
        for instance in instances:
            xmin, ymin, xmax, ymax = (bound - 1 for bound in instance.box)
            draw.rectangle(
                (xmin, ymin, xmax, ymax), outline="red" if instance.difficult else "lime"
            )
        yield image, "voc: " + " ".join(instance.name[:7] for instance in instances)


def _places(seed: int) -> Iterable[tuple[Image.Image, str]]:
    for index in range(2 * _COLUMNS):
        category = list(PLACES)[index % len(PLACES)]
        rng = generator(seed, "sheet", "places", index)
        yield Image.fromarray(stuff_and_things(rng, PLACES[category], 112, 112)[0]), category


def _labels(seed: int) -> Iterable[tuple[Image.Image, str]]:
    names = {label: name for name, label in (ADE_STUFF | ADE_THINGS).items()}
    for index in range(_COLUMNS):
        layout = list(PLACES.values())[(5 * index + 1) % len(PLACES)]
        rng = generator(seed, "sheet", "ade", index)
        pixels, labels = stuff_and_things(rng, layout, 128, 128)
        yield Image.fromarray(pixels), "ade: image"
        present = (names[label] for label in np.unique(labels) if label in names)
        yield Image.fromarray(label_colours()[labels]), " ".join(present)


def contact_sheet(seed: int = 0) -> Image.Image:
    """Examples of all datasets in one RGB image, ten per row."""
    parts: tuple[Callable[[int], Iterable[tuple[Image.Image, str]]], ...] = (
        _objects,
        _tiny_objects,
        _boxes,
        _places,
        _labels,
    )
    cells = [cell for part in parts for cell in part(seed)]
    rows = -(-len(cells) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * (_CELL + 4), rows * (_CELL + _CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (image, caption) in enumerate(cells):
        left, top = index % _COLUMNS * (_CELL + 4), index // _COLUMNS * (_CELL + _CAPTION)
        image.thumbnail((_CELL, _CELL))
        sheet.paste(image, (left, top))
        draw.text((left, top + _CELL), caption[:22], fill="black")
    return sheet
