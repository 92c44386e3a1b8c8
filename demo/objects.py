"""Objects: a shape filled with a texture, shaded, and painted into an image."""

from __future__ import annotations

import numpy as np

from demo.painting import contrasting_pair, linear_ramp, mix, paint
from demo.shapes import SHAPES, Coverage, Placement, coverage
from demo.taxonomy import ObjectClass
from demo.textures import TEXTURES, TILT, Mapping, sample_texture

# The typical hue of each texture, in [0, 1): a hint at the texture but not at the shape.
_HUES = {name: index / len(TEXTURES) for index, name in enumerate(TEXTURES)}
_PERIODS_PER_DIAMETER = (3.2, 5.5)
_SHORTEST_PERIOD = 4.5  # pixels; shorter ones do not survive the camera's blur and JPEG


def random_placement(
    rng: np.random.Generator,
    x: tuple[float, float],
    y: tuple[float, float],
    diameter: tuple[float, float],
) -> Placement:
    """A random placement within ranges in pixels, nearly upright, of aspect up to 1.3."""
    return Placement(
        x=rng.uniform(*x),
        y=rng.uniform(*y),
        diameter=float(np.exp(rng.uniform(*np.log(diameter)))),
        angle=rng.uniform(-TILT, TILT),
        aspect=float(np.exp(rng.uniform(-1, 1) * np.log(1.3))),
    )


def _mean_colour(image: np.ndarray, where: Coverage) -> np.ndarray:
    """The mean colour [3] of the window of a coverage, or of the image if the window is empty."""
    window = image[where.window]
    return window.mean(axis=(0, 1)) if window.size else image.mean(axis=(0, 1))


def paint_object(
    image: np.ndarray, looks: ObjectClass, placement: Placement, rng: np.random.Generator
) -> Coverage:
    """Paints an object in random colours into `image`, [height, width, 3]; returns its coverage."""
    where = coverage(looks.shape, placement, *image.shape[:2])
    first, second = contrasting_pair(rng, _mean_colour(image, where), _HUES[looks.texture])
    periods = rng.uniform(*_PERIODS_PER_DIAMETER)
    mapping = Mapping.random(rng, max(placement.diameter / periods, _SHORTEST_PERIOD))
    weight = sample_texture(looks.texture, mapping, where.rows, where.cols, rng)
    shade = 1 + np.float32(rng.uniform(0, 0.3)) * linear_ramp(
        where.rows, where.cols, rng.uniform(0, 2 * np.pi)
    )
    paint(image, where, np.clip(mix(weight, first, second) * shade[..., None], 0, 1))
    return where


def paint_clutter(
    image: np.ndarray, rng: np.random.Generator, count: int, diameter: tuple[float, float]
) -> list[Coverage]:
    """Paints `count` small plain shapes in random colours; returns the coverage of each."""
    height, width = image.shape[:2]
    names = list(SHAPES)
    clutter = []
    for _ in range(count):
        placement = random_placement(rng, (0, width), (0, height), diameter)
        where = coverage(names[rng.integers(len(names))], placement, height, width)
        paint(image, where, rng.uniform(0.1, 0.9, 3).astype(np.float32))
        clutter.append(where)
    return clutter


def paint_occluder(
    image: np.ndarray, placement: Placement, rng: np.random.Generator, reach: float
) -> Coverage:
    """Paints a plain square over the edge of the object at `placement`; returns its coverage.

    The square covers the object to a depth of `reach` times its radius.
    """
    direction = rng.uniform(0, 2 * np.pi)
    size = placement.diameter * rng.uniform(0.6, 1.1)
    # from the centre of a square of diameter d to the middle of a side it is d / sqrt(8)
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
