"""Objects: a shape filled with a texture, shaded, and put into an image."""

from __future__ import annotations

import numpy as np

from demo.painting import contrasting_pair, linear_ramp, mix, paint
from demo.shapes import SHAPES, Coverage, Placement, coverage
from demo.taxonomy import ObjectClass
from demo.textures import TEXTURES, TILT, Mapping, weave

# A material has its typical colours: a hint at the texture, and none at the shape. In turns.
_HUES = {name: index / len(TEXTURES) for index, name in enumerate(TEXTURES)}
_PERIODS_PER_DIAMETER = (3.2, 5.5)
_SHORTEST_PERIOD = 4.5  # pixels; less is lost to the blur of the camera and to JPEG


def random_placement(
    rng: np.random.Generator,
    x: tuple[float, float],
    y: tuple[float, float],
    diameter: tuple[float, float],
) -> Placement:
    """A placement drawn from ranges in pixels, about upright, its aspect 1 : 1.3 at most."""
    return Placement(
        x=rng.uniform(*x),
        y=rng.uniform(*y),
        diameter=float(np.exp(rng.uniform(*np.log(diameter)))),
        angle=rng.uniform(-TILT, TILT),
        aspect=float(np.exp(rng.uniform(-1, 1) * np.log(1.3))),
    )


def _surround(image: np.ndarray, where: Coverage) -> np.ndarray:
    """The mean colour [3] of the window that an object is about to be painted on."""
    window = image[where.window]
    return window.mean(axis=(0, 1)) if window.size else image.mean(axis=(0, 1))


def paint_object(
    image: np.ndarray, looks: ObjectClass, placement: Placement, rng: np.random.Generator
) -> Coverage:
    """Paint an object into `image` [height, width, 3] in random colours; returns what it covers."""
    where = coverage(looks.shape, placement, *image.shape[:2])
    first, second = contrasting_pair(rng, _surround(image, where), _HUES[looks.texture])
    periods = rng.uniform(*_PERIODS_PER_DIAMETER)
    mapping = Mapping.random(rng, max(placement.diameter / periods, _SHORTEST_PERIOD))
    weight = weave(looks.texture, mapping, where.rows, where.cols, rng)
    shade = 1 + np.float32(rng.uniform(0, 0.3)) * linear_ramp(
        where.rows, where.cols, rng.uniform(0, 2 * np.pi)
    )
    paint(image, where, np.clip(mix(weight, first, second) * shade[..., None], 0, 1))
    return where


def paint_clutter(
    image: np.ndarray, rng: np.random.Generator, count: int, diameter: tuple[float, float]
) -> list[Coverage]:
    """Paint `count` small plain bits of random shapes and colours; returns what each covers."""
    height, width = image.shape[:2]
    names = list(SHAPES)
    bits = []
    for _ in range(count):
        placement = random_placement(rng, (0, width), (0, height), diameter)
        bit = coverage(names[rng.integers(len(names))], placement, height, width)
        paint(image, bit, rng.uniform(0.1, 0.9, 3).astype(np.float32))
        bits.append(bit)
    return bits


def paint_occluder(
    image: np.ndarray, placement: Placement, rng: np.random.Generator, reach: float
) -> Coverage:
    """Paint a plain square over the rim of an object, `reach` of its radius deep.

    `placement` is that of the object; returns what the occluder covers.
    """
    direction = rng.uniform(0, 2 * np.pi)
    size = placement.diameter * rng.uniform(0.6, 1.1)
    # A square of diameter d reaches d / sqrt(8) from its centre towards the middle of a side.
    distance = placement.diameter / 2 * (1 - reach) + size / np.sqrt(8)
    square = Placement(
        x=placement.x + distance * np.cos(direction),
        y=placement.y + distance * np.sin(direction),
        diameter=size,
        angle=direction + np.pi / 4,
    )
    where = coverage("square", square, *image.shape[:2])
    paint(image, where, rng.uniform(0.1, 0.9, 3).astype(np.float32))
    return where
