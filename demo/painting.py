"""Colours, compositing and the camera model.

Images are float32 [height, width, 3], RGB in [0, 1]. Functions named `paint*` change their image in
place; the others return a new one.
"""

from __future__ import annotations

import cv2
import numpy as np

from demo.shapes import Coverage

_LUMA = np.array([0.299, 0.587, 0.114])
_CANDIDATES = 24
_HUE_SPREAD = 0.08  # standard deviation; the typical hues of two textures differ by 0.125


def hsv_to_rgb(hsv: np.ndarray) -> np.ndarray:
    """Hue, saturation and value [..., 3] in [0, 1] to RGB in [0, 1]."""
    hue, saturation, value = (hsv[..., i, None] for i in range(3))
    k = (np.array([5.0, 3.0, 1.0]) + 6 * hue) % 6
    return value * (1 - saturation * np.clip(np.minimum(k, 4 - k), 0, 1))


def contrasting_pair(
    rng: np.random.Generator, surround: np.ndarray, hue: float | None = None, contrast: float = 0.28
) -> tuple[np.ndarray, np.ndarray]:
    """Two colours [3], the darker first, that differ from each other and from `surround` [3].

    Both are close to `hue`, in [0, 1], if it is given. Returns the first of some random pairs whose
    luma differs by `contrast` and whose mean has a distance of `contrast` to `surround` in RGB, or
    else the pair that comes closest to both.
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
    best = int(np.argmax(margin))  # the first that reaches `contrast`
    dark, light = pairs[best][np.argsort(luma[best])]
    return dark.astype(np.float32), light.astype(np.float32)


def mix(weight: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Blends two colours [3] by weights [height, width]: [height, width, 3]."""
    return second + weight[..., None] * (first - second)


def paint(image: np.ndarray, where: Coverage, colour: np.ndarray) -> None:
    """Composites `colour`, [3] or of the window's size, over the window of `image`."""
    below = image[where.window]
    below += where.alpha[..., None] * (colour - below)


def linear_ramp(rows: slice, cols: slice, angle: float) -> np.ndarray:
    """A linear ramp over a window in a direction (radians): float32, 0 in the middle.

    It spans [-1, 1] for horizontal and vertical directions.
    """
    height, width = max(rows.stop - rows.start, 1), max(cols.stop - cols.start, 1)
    y = (np.arange(rows.stop - rows.start, dtype=np.float32)[:, None] + 0.5) / height * 2 - 1
    x = (np.arange(cols.stop - cols.start, dtype=np.float32)[None, :] + 0.5) / width * 2 - 1
    return x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))


def photograph(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lights a scene [height, width, 3] and photographs it: uint8 [height, width, 3].

    A light gradient, a colour cast, an exposure (gamma), a slight blur and sensor noise, each of
    random strength.
    """
    height, width = image.shape[:2]
    ramp = linear_ramp(slice(0, height), slice(0, width), rng.uniform(0, 2 * np.pi))
    light = 1 + np.float32(rng.uniform(0.05, 0.35)) * ramp
    cast = rng.uniform(0.85, 1.1, 3).astype(np.float32)
    lit = np.clip(image * light[..., None] * cast, 0.0, 1.0)
    lit = cv2.pow(lit, float(np.exp(rng.uniform(-0.4, 0.4))))
    blur = rng.uniform(0.0, 0.8)
    if blur > 0.3:  # otherwise the kernel is the identity
        lit = cv2.GaussianBlur(lit, (0, 0), blur)
    noise = rng.standard_normal(lit.shape, dtype=np.float32) * np.float32(rng.uniform(0.005, 0.035))
    return np.round(np.clip(lit + noise, 0.0, 1.0) * 255).astype(np.uint8)
