"""Backgrounds for images of objects: gradients, faint textures, horizons and clutter."""

from __future__ import annotations

import numpy as np

from demo.objects import paint_clutter
from demo.painting import linear_ramp, mix
from demo.textures import TEXTURES, Mapping, sample_texture


def _surface(
    rng: np.random.Generator, rows: slice, cols: slice, textured: float = 0.4
) -> np.ndarray:
    """A gradient, with a faint texture with probability `textured`: [height, width, 3]."""
    middle = rng.uniform(0.15, 0.85, 3)
    spread = rng.uniform(-0.2, 0.2, 3)
    ramp = linear_ramp(rows, cols, rng.uniform(0, 2 * np.pi))
    surface = (middle + ramp[..., None] * spread).astype(np.float32)
    if rng.random() < textured:
        names = list(TEXTURES)
        name = names[rng.integers(len(names))]
        side = min(rows.stop - rows.start, cols.stop - cols.start)
        mapping = Mapping.random(rng, max(side * rng.uniform(0.08, 0.3), 4.5))
        tone = rng.uniform(-0.12, 0.12, 3).astype(np.float32)
        surface += mix(sample_texture(name, mapping, rows, cols, rng), tone, -tone)
    return surface


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A random background without objects of any class: float32 [height, width, 3]."""
    cols = slice(0, width)
    image = _surface(rng, slice(0, height), cols)
    if rng.random() < 0.4:
        horizon = int(height * rng.uniform(0.3, 0.8))
        image[horizon:] = _surface(rng, slice(horizon, height), cols)
    image = np.clip(image, 0, 1)
    side = min(height, width)
    paint_clutter(image, rng, int(rng.integers(0, 4)), (0.06 * side, 0.22 * side))
    return image
