"""Shapes: closed contours in the unit disc, and their anti-aliased coverage of a pixel grid.

Image coordinates are continuous, in pixels, x to the right and y down. The pixel in column i covers
[i, i + 1): its centre is at i + 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_SUPERSAMPLING = 4
_FIXED_POINT_BITS = 4  # sub-pixel precision of cv2.fillPoly


def _arc(start: float, stop: float, radius: float = 1.0, centre: float = 0.0) -> np.ndarray:
    """48 points [48, 2] from angle `start` to `stop` (radians) about (centre, 0)."""
    angle = np.linspace(start, stop, 48)
    return np.stack([centre + radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _circle(radius: float = 1.0) -> np.ndarray:
    return _arc(0.0, 2 * np.pi, radius)


def _polygon(corners: int, inner_radius: float | None = None) -> np.ndarray:
    """A regular polygon, or a star if `inner_radius` is given, with one corner at the top."""
    count = corners if inner_radius is None else 2 * corners
    angle = np.arange(count) * 2 * np.pi / count - np.pi / 2
    radius = np.ones(count)
    if inner_radius is not None:
        radius[1::2] = inner_radius
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _cross(half_width: float = 0.3) -> np.ndarray:
    long, short = np.sqrt(1 - half_width**2), half_width
    arm = np.array([[short, short], [long, short], [long, -short]])
    quarter_turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    return np.concatenate([arm @ np.linalg.matrix_power(quarter_turn, k) for k in (0, 3, 2, 1)])


def _crescent(tip: float = np.deg2rad(50), bite: float = 0.35) -> np.ndarray:
    """The unit disc minus a disc about (bite, 0) that meets the unit circle at angles +-`tip`."""
    inner_tip = np.arctan2(np.sin(tip), np.cos(tip) - bite)
    inner_radius = np.sin(tip) / np.sin(inner_tip)
    inner = _arc(2 * np.pi - inner_tip, inner_tip, inner_radius, bite)
    return np.concatenate([_arc(tip, 2 * np.pi - tip), inner])


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 64)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    contour = np.stack([x, y - 2.5], axis=1)  # centred vertically
    return contour / np.linalg.norm(contour, axis=1).max()


# The contours of each shape, filled by the even-odd rule: a second contour is a hole.
SHAPES: dict[str, tuple[np.ndarray, ...]] = {
    "disc": (_circle(),),
    "square": (_polygon(4),),
    "triangle": (_polygon(3),),
    "star": (_polygon(5, inner_radius=0.42),),
    "ring": (_circle(), _circle(0.5)),
    "cross": (_cross(),),
    "crescent": (_crescent(),),
    "heart": (_heart(),),
}


@dataclass(frozen=True)
class Placement:
    """A shape's centre and diameter in pixels, angle in radians, and aspect = width / height.

    `diameter` is that of the circumscribed circle at aspect 1; the aspect keeps the area.
    """

    x: float
    y: float
    diameter: float
    angle: float = 0.0
    aspect: float = 1.0

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Unit-disc coordinates [N, 2] to image coordinates [N, 2]: aspect first, then rotation."""
        stretch = np.sqrt(self.aspect)
        scaled = points * np.array([stretch, 1 / stretch]) * self.diameter / 2
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return scaled @ np.array([[cos, sin], [-sin, cos]]) + np.array([self.x, self.y])


@dataclass(frozen=True)
class Coverage:
    """A shape's coverage of pixels: `alpha`, float32 in [0, 1], in the window `rows` x `cols`.

    The window is inside the image, and empty if the shape is outside.
    """

    alpha: np.ndarray
    rows: slice
    cols: slice

    @property
    def window(self) -> tuple[slice, slice]:
        return self.rows, self.cols

    def full(self, height: int, width: int) -> np.ndarray:
        """The coverage as float32 [height, width], zero outside the window."""
        frame = np.zeros((height, width), np.float32)
        frame[self.window] = self.alpha
        return frame


def extent(shape: str, placement: Placement) -> tuple[np.ndarray, np.ndarray]:
    """The corners (x, y) of a placed shape's bounding box, which can be outside the image."""
    points = placement.to_image(np.concatenate(SHAPES[shape]))
    return points.min(axis=0), points.max(axis=0)


def coverage(shape: str, placement: Placement, height: int, width: int) -> Coverage:
    """The anti-aliased coverage of a shape in an image of height x width pixels.

    Raises:
        KeyError: unknown shape.
    """
    contours = [placement.to_image(contour) for contour in SHAPES[shape]]
    lower, upper = extent(shape, placement)
    lower = np.clip(np.floor(lower), 0, (width, height)).astype(int)
    upper = np.clip(np.ceil(upper), 0, (width, height)).astype(int)
    left, top, right, bottom = (int(bound) for bound in (*lower, *upper))
    rows, cols = slice(top, bottom), slice(left, right)
    if bottom == top or right == left:
        return Coverage(np.zeros((bottom - top, right - left), np.float32), rows, cols)

    fine = np.zeros(((bottom - top) * _SUPERSAMPLING, (right - left) * _SUPERSAMPLING), np.uint8)
    fixed = [
        # OpenCV's pixel centres are at integers, hence the half pixel
        np.round(((contour - (left, top)) * _SUPERSAMPLING - 0.5) * 2**_FIXED_POINT_BITS).astype(
            np.int32
        )
        for contour in contours
    ]
    cv2.fillPoly(fine, fixed, 255, shift=_FIXED_POINT_BITS)
    alpha = cv2.resize(fine, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    return Coverage(alpha.astype(np.float32) / 255, rows, cols)
