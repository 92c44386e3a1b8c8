"""Two-colour textures as functions on the plane, anti-aliased analytically.

A texture maps coordinates (u, v), in periods, to the weight of the first colour, in [0, 1].
`softness` is the width of a pixel in periods. Edges are ramps of this width, so that sampling at
pixel centres has no aliasing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

# Objects and textures are nearly upright, as in most photographs: up to 20 degrees of tilt.
TILT = float(np.radians(20))
_LATTICE = 32  # side of the random lattice of the noise textures, which repeats after it

Texture = Callable[[np.ndarray, np.ndarray, float, np.random.Generator], np.ndarray]


def _step(distance: np.ndarray, softness: float) -> np.ndarray:
    """The share of a pixel of width `softness` in {distance > 0}, for a signed distance."""
    return np.clip(distance / softness + 0.5, 0.0, 1.0)


def _from_centre(x: np.ndarray) -> np.ndarray:
    """The distance to the centre of the cell [k, k + 1) around x: in [0, 0.5]."""
    return np.abs(x - np.floor(x) - 0.5)


def smooth_noise(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian lattice noise of mean 0 with cubic interpolation, one lattice point per unit."""
    lattice = rng.standard_normal((_LATTICE, _LATTICE)).astype(np.float32)
    x = np.mod(u, _LATTICE).astype(np.float32)
    y = np.mod(v, _LATTICE).astype(np.float32)
    return cv2.remap(lattice, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)


def _stripes(u: np.ndarray, v: np.ndarray, softness: float, rng: np.random.Generator) -> np.ndarray:
    return _step(0.25 - _from_centre(u), softness)


def _checker(u: np.ndarray, v: np.ndarray, softness: float, rng: np.random.Generator) -> np.ndarray:
    columns = _step(0.25 - _from_centre(u), softness)
    rows = _step(0.25 - _from_centre(v), softness)
    return columns + rows - 2 * columns * rows


def _dots(u: np.ndarray, v: np.ndarray, softness: float, rng: np.random.Generator) -> np.ndarray:
    return _step(0.3 - np.hypot(_from_centre(u), _from_centre(v)), softness)


def _rings(u: np.ndarray, v: np.ndarray, softness: float, rng: np.random.Generator) -> np.ndarray:
    # concentric rings every three periods, so that every window shows a centre
    u, v = u - 3 * np.floor(u / 3) - 1.5, v - 3 * np.floor(v / 3) - 1.5
    return _step(0.25 - _from_centre(np.hypot(u, v)), softness)


def _zigzag(u: np.ndarray, v: np.ndarray, softness: float, rng: np.random.Generator) -> np.ndarray:
    # the gradient's norm, |(+-1, 1/2)| = 1.12, turns the argument into a distance in periods
    return _step((0.25 - _from_centre(0.5 * v + 2 * _from_centre(0.5 * u))) / 1.12, softness)


def _bricks(u: np.ndarray, v: np.ndarray, softness: float, rng: np.random.Generator) -> np.ndarray:
    odd_row = np.mod(np.floor(v), 2)
    to_bed_joint = 0.5 - _from_centre(v)
    to_head_joint = 2 * (0.5 - _from_centre(u / 2 + 0.5 * odd_row))
    return _step(np.minimum(to_bed_joint, to_head_joint) - 0.12, softness)


def _blotches(
    u: np.ndarray, v: np.ndarray, softness: float, rng: np.random.Generator
) -> np.ndarray:
    return _step(smooth_noise(1.6 * u, 1.6 * v, rng) / 2, softness)


def _grain(u: np.ndarray, v: np.ndarray, softness: float, rng: np.random.Generator) -> np.ndarray:
    return _step(smooth_noise(0.6 * u, 4 * v, rng) / 5, softness)


TEXTURES: dict[str, Texture] = {
    "stripes": _stripes,
    "checker": _checker,
    "dots": _dots,
    "rings": _rings,
    "zigzag": _zigzag,
    "bricks": _bricks,
    "blotches": _blotches,
    "grain": _grain,
}


@dataclass(frozen=True)
class Mapping:
    """From pixels to texture coordinates: period in pixels, angle in radians, phase in periods."""

    period: float
    angle: float
    phase_u: float
    phase_v: float

    @staticmethod
    def random(rng: np.random.Generator, period: float) -> Mapping:
        angle = rng.uniform(-TILT, TILT)
        phase_u, phase_v = rng.uniform(0, 24, 2)
        return Mapping(period, angle, phase_u, phase_v)


def sample_texture(
    texture: str, mapping: Mapping, rows: slice, cols: slice, rng: np.random.Generator
) -> np.ndarray:
    """Samples a texture on the window rows x cols of an image: float32 in [0, 1].

    Raises:
        KeyError: unknown texture.
    """
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + 0.5
    x = np.arange(cols.start, cols.stop, dtype=np.float32)[None, :] + 0.5
    cos = np.float32(np.cos(mapping.angle) / mapping.period)
    sin = np.float32(np.sin(mapping.angle) / mapping.period)
    u = x * cos + y * sin + np.float32(mapping.phase_u)
    v = y * cos - x * sin + np.float32(mapping.phase_v)
    return TEXTURES[texture](u, v, 1 / mapping.period, rng).astype(np.float32)
