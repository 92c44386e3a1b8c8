"""Colours, compositing and the camera: what turns coverages and textures into a photograph.

Images are float32 [height, width, 3], RGB in [0, 1].  The functions named `paint_*` change the
image they are given; the others return a new one.
"""

from __future__ import annotations

import cv2
import numpy as np

from demo.shapes import Coverage

_LUMA = np.array([0.299, 0.587, 0.114])
_CANDIDATES = 24
_HUE_SPREAD = 0.08  # standard deviation in turns; the hues of two materials lie 0.125 apart


def hsv_to_rgb(hsv: np.ndarray) -> np.ndarray:
    """Colours [..., 3] as hue in turns, saturation and value, turned into RGB in [0, 1]."""
    hue, saturation, value = (hsv[..., i, None] for i in range(3))
    k = (np.array([5.0, 3.0, 1.0]) + 6 * hue) % 6
    return value * (1 - saturation * np.clip(np.minimum(k, 4 - k), 0, 1))


def contrasting_pair(
    rng: np.random.Generator, surround: np.ndarray, hue: float | None = None, contrast: float = 0.28
) -> tuple[np.ndarray, np.ndarray]:
    """Two colours [3], the darker first, that differ from one another and from `surround` [3].

    Both are of about the given hue (in turns), or of any. Of some random pairs, takes the first
    whose luma differs by `contrast` and whose mean lies `contrast` away from the surround in RGB,
    or else the one that comes closest to both.
    """
    hsv = rng.uniform((0, 0.15, 0.1), (0, 0.9, 1.0), (_CANDIDATES, 2, 3))
    if hue is None:
        hsv[..., 0] = rng.uniform(0, 1, (_CANDIDATES, 2))
    else:
        hsv[..., 0] = rng.normal(hue, _HUE_SPREAD, (_CANDIDATES, 2))
    pairs = hsv_to_rgb(hsv)
    luma = pairs @ _LUMA
    between = np.abs(luma[:, 0] - luma[:, 1])
    around = np.linalg.norm(pairs.mean(axis=1) - surround, axis=1)
    margin = np.minimum(np.minimum(between, around), contrast)
    best = int(np.argmax(margin))  # argmax: the first of those that reach `contrast`
    dark, light = pairs[best][np.argsort(luma[best])]
    return dark.astype(np.float32), light.astype(np.float32)


def mix(weight: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Blend two colours [3] by weight [height, width]: [height, width, 3]."""
    return second + weight[..., None] * (first - second)


def paint(image: np.ndarray, where: Coverage, colour: np.ndarray) -> None:
    """Composite `colour`, [3] or of the size of the window, over the window of `image`."""
    below = image[where.window]
    below += where.alpha[..., None] * (colour - below)


def linear_ramp(rows: slice, cols: slice, angle: float) -> np.ndarray:
    """A ramp over a window along a direction (radians): float32 in about [-1, 1], 0 in the middle.

    In a square window it spans [-1, 1] for horizontal and vertical directions.
    """
    height, width = max(rows.stop - rows.start, 1), max(cols.stop - cols.start, 1)
    y = (np.arange(rows.stop - rows.start, dtype=np.float32)[:, None] + 0.5) / height * 2 - 1
    x = (np.arange(cols.stop - cols.start, dtype=np.float32)[None, :] + 0.5) / width * 2 - 1
    return x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))


def photograph(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light the scene and take its picture: uint8 [height, width, 3] from [height, width, 3].

    A directional gradient, a colour cast, an exposure (gamma), a slight defocus and sensor noise,
    each of random strength.
    """
    height, width = image.shape[:2]
    ramp = linear_ramp(slice(0, height), slice(0, width), rng.uniform(0, 2 * np.pi))
    light = 1 + np.float32(rng.uniform(0.05, 0.35)) * ramp
    cast = rng.uniform(0.85, 1.1, 3).astype(np.float32)
    lit = np.clip(image * light[..., None] * cast, 0.0, 1.0)
    lit = cv2.pow(lit, float(np.exp(rng.uniform(-0.4, 0.4))))
    blur = rng.uniform(0.0, 0.8)
    if blur > 0.3:  # below that the kernel is the identity
        lit = cv2.GaussianBlur(lit, (0, 0), blur)
    noise = rng.standard_normal(lit.shape, dtype=np.float32) * np.float32(rng.uniform(0.005, 0.035))
    return np.round(np.clip(lit + noise, 0.0, 1.0) * 255).astype(np.uint8)
