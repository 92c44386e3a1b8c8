"""Scenes: bands of stuff (wall, sky, ...) from top to bottom, with things in front of them.

Kinds of stuff differ in texture and position, scene categories in their stuff and typical things.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demo.objects import paint_clutter, paint_object, random_placement
from demo.painting import contrasting_pair, linear_ramp, mix, paint, photograph
from demo.shapes import Coverage
from demo.taxonomy import ADE_IGNORE, ADE_LOOKS, ADE_STUFF, ADE_THINGS
from demo.textures import Mapping, sample_texture, smooth_noise

_UNTYPICAL = 0.2  # probability of a thing of any kind, instead of one of the scene's own
_CLUTTER = (3.0, 9.0)  # diameters in pixels
_IGNORED_HALF_WIDTH = 0.8  # pixels on either side of an edge between stuff, labelled "ignore"


@dataclass(frozen=True)
class Stuff:
    """A kind of stuff: its texture (None: smooth clouds) and the profile of its upper edge."""

    texture: str | None
    profile: str  # "level", "rolling", "blocks" or "peaks"


STUFF: dict[str, Stuff] = {
    "wall": Stuff("bricks", "level"),
    "building": Stuff("checker", "blocks"),
    "sky": Stuff(None, "level"),
    "floor": Stuff("stripes", "level"),
    "tree": Stuff("blotches", "rolling"),
    "ceiling": Stuff("dots", "level"),
    "road": Stuff("grain", "level"),
    "grass": Stuff("zigzag", "level"),
    "mountain": Stuff("rings", "peaks"),
}


@dataclass(frozen=True)
class Layout:
    """A scene category: its stuff from top to bottom, and its typical things.

    `edges` are the mean upper edges of all stuff but the first, as a share of the image's height
    from the top.
    """

    stuff: tuple[str, ...]
    edges: tuple[float, ...]
    things: tuple[str, ...]


# Names of Places365. Some have the same stuff and other things, others the reverse.
PLACES: dict[str, Layout] = {
    "airfield": Layout(("sky", "grass", "road"), (0.4, 0.65), ("airplane",)),
    "bedroom": Layout(("wall", "floor"), (0.6,), ("sofa",)),
    "classroom": Layout(("ceiling", "wall", "floor"), (0.25, 0.65), ("chair", "table")),
    "corridor": Layout(("ceiling", "wall", "floor"), (0.25, 0.65), ("person",)),
    "dining_room": Layout(("wall", "floor"), (0.6,), ("table", "chair")),
    "forest_path": Layout(("tree", "grass", "road"), (0.45, 0.7), ("person", "animal")),
    "highway": Layout(("sky", "tree", "road"), (0.3, 0.55), ("car",)),
    "park": Layout(("sky", "tree", "grass"), (0.3, 0.55), ("person",)),
    "pasture": Layout(("sky", "tree", "grass"), (0.3, 0.55), ("animal",)),
    "residential_neighborhood": Layout(("sky", "building", "grass"), (0.3, 0.6), ("car", "person")),
    "street": Layout(("sky", "building", "road"), (0.3, 0.6), ("car", "person")),
    "valley": Layout(("sky", "mountain", "grass"), (0.35, 0.65), ("animal",)),
}


def _profile(kind: str, rng: np.random.Generator, width: int) -> np.ndarray:
    """The upper edge of stuff around 0, [width], as a share of the image's height."""
    x = np.linspace(0, 1, width, dtype=np.float32)
    tilt = rng.uniform(-0.04, 0.04) * (2 * x - 1)
    if kind == "rolling":
        bumps = smooth_noise(x[None] * rng.uniform(6, 12), np.zeros((1, width)), rng)[0]
        return tilt + 0.05 * bumps
    if kind == "blocks":
        heights = rng.uniform(-0.14, 0.14, 8)
        return heights[np.floor(x * rng.uniform(3, 7)).astype(int)]
    if kind == "peaks":
        knots = np.linspace(0, 1, int(rng.integers(5, 9)))
        heights = rng.uniform(0.04, 0.16, len(knots)) * np.where(np.arange(len(knots)) % 2, -1, 1)
        return np.interp(x, knots, heights)
    return tilt


def _surface(name: str, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """An image filled with stuff in random colours: float32 [height, width, 3]."""
    rows, cols = slice(0, height), slice(0, width)
    ramp = linear_ramp(rows, cols, rng.uniform(0, 2 * np.pi))[..., None]
    texture = STUFF[name].texture
    if texture is None:
        y, x = np.mgrid[rows, cols].astype(np.float32) / (0.3 * min(height, width))
        clouds = 0.08 * smooth_noise(0.6 * x, y, rng)[..., None]
        tint = rng.uniform(-0.15, 0.15, 3)
        return (rng.uniform(0.3, 0.9, 3) + ramp * tint + clouds).astype(np.float32)
    # with less contrast than objects, so that these stand out
    first, second = contrasting_pair(rng, rng.uniform(0.2, 0.8, 3), contrast=0.2)
    middle, contrast = (first + second) / 2, rng.uniform(0.45, 0.8)
    first, second = (middle + contrast * (colour - middle) for colour in (first, second))
    mapping = Mapping.random(rng, min(height, width) * rng.uniform(0.07, 0.12))
    weight = sample_texture(texture, mapping, rows, cols, rng)
    return mix(weight, first, second) * (1 + 0.15 * ramp).astype(np.float32)


def _paint_stuff(
    layout: Layout, rng: np.random.Generator, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """A layout without things: image [height, width, 3] and labels uint8 [height, width]."""
    image = _surface(layout.stuff[0], rng, height, width)
    labels = np.full((height, width), ADE_STUFF[layout.stuff[0]], np.uint8)
    y = np.arange(height, dtype=np.float32)[:, None] + 0.5
    shift = rng.uniform(-0.1, 0.1)  # the camera looks up or down
    everywhere = (slice(0, height), slice(0, width))
    for name, edge in zip(layout.stuff[1:], layout.edges, strict=True):
        profile = _profile(STUFF[name].profile, rng, width)
        below = y - height * (edge + shift + rng.uniform(-0.05, 0.05) + profile)
        band = Coverage(np.clip(below + 0.5, 0, 1).astype(np.float32), *everywhere)
        paint(image, band, _surface(name, rng, height, width))
        labels[below > 0] = ADE_STUFF[name]
        labels[np.abs(below) < _IGNORED_HALF_WIDTH] = ADE_IGNORE
    return np.clip(image, 0, 1), labels


def stuff_and_things(
    rng: np.random.Generator, layout: Layout, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """A scene: image uint8 [height, width, 3] and labels uint8 [height, width].

    Labels are SceneParse150 ids; clutter and edges between stuff are 0, "ignore".
    """
    image, labels = _paint_stuff(layout, rng, height, width)
    for clutter in paint_clutter(image, rng, int(rng.integers(0, 6)), _CLUTTER):
        labels[clutter.window][clutter.alpha > 0] = ADE_IGNORE
    side = min(height, width)
    # things on the ground: the lower in the image, the nearer and the larger
    feet = np.sort(rng.uniform(0.35, 0.9, rng.integers(1, 5)))
    for foot in feet:
        kinds = tuple(ADE_THINGS) if rng.random() < _UNTYPICAL else layout.things
        thing = kinds[rng.integers(len(kinds))]
        looks = ADE_LOOKS[thing]
        near = side * (0.1 + 0.5 * foot)
        placement = random_placement(
            rng,
            x=(0.05 * width, 0.95 * width),
            y=((foot - 0.02) * height, (foot + 0.02) * height),
            diameter=(0.75 * near, 1.25 * near),
        )
        where = paint_object(image, looks[rng.integers(len(looks))], placement, rng)
        labels[where.window][where.alpha > 0.5] = ADE_THINGS[thing]
    return photograph(image, rng), labels
