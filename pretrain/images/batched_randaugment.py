"""RandAugment on a batch of uint8 images on the device, with different operations for each image.

timm draws the operations and their magnitudes on the host (`draw`). The operations reproduce
Pillow's: colour operations exactly, geometric ones up to 1 of 255
(tests/pretrain/images/test_batched_randaugment.py).
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timm.data.auto_augment import RandAugment
from torch import Tensor

from core.errors import InputError

GEOMETRIC = ("shear_x", "shear_y", "translate_x_rel", "translate_y_rel", "rotate")
PILLOW_BICUBIC = 3
NO_OPERATION = -1.0
LENGTH = 3  # numbers per operation: its index in NAMES, its argument, whether it is bicubic


def draw(rng: np.random.Generator, policy: RandAugment) -> list[float]:
    """Draws one image's operations as timm would: LENGTH numbers for each.

    Like `randaugment`, it takes one number from `rng`.

    Raises:
        InputError: the policy has an operation that is not in NAMES.
    """
    seed = int(rng.integers(2**32))
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - timm draws from the global generators
    drawn = _recording(policy)([])
    missing = LENGTH * policy.num_layers - len(drawn)
    return [*drawn, *[NO_OPERATION] * missing]


@lru_cache
def _recording(policy: RandAugment) -> RandAugment:
    """A policy with the same draws that appends them to a list instead of changing an image."""
    recording = copy.deepcopy(policy)
    for operation in recording.ops:
        name = operation.aug_fn.__name__
        if name not in NAMES:
            raise InputError(
                f"randaugment: {operation.name} has no batched version; known: {', '.join(NAMES)}"
            )
        operation.aug_fn = _recorder(name)
    return recording


def _recorder(name: str):
    def record(drawn: list[float], argument: float = 0.0, **settings: Any) -> list[float]:
        bicubic = False
        if name in GEOMETRIC:  # timm draws the interpolation when it applies the operation
            resample = settings["resample"]
            chosen = random.choice(resample) if isinstance(resample, tuple) else resample
            bicubic = int(chosen) == PILLOW_BICUBIC
        return [*drawn, NAMES.index(name), float(argument), bicubic]

    return record


def apply(images: Tensor, operations: Tensor, fill: Sequence[int]) -> Tensor:
    """Applies each image's operations in turn.

    Args:
        images: uint8 [n, 3, H, W].
        operations: [n, k x LENGTH], on the host, from `draw`.
        fill: RGB of the area that a geometric operation leaves empty.
    """
    images = images.clone()
    for first in range(0, operations.shape[1], LENGTH):
        which, argument, bicubic = operations[:, first : first + LENGTH].unbind(dim=1)
        geometric = (which >= 0) & (which < len(GEOMETRIC))
        for cubic in (False, True):
            some = torch.nonzero(geometric & (bicubic.bool() == cubic))[:, 0]
            if len(some):
                matrices = _matrices(which[some], argument[some], images.shape[3], images.shape[2])
                rows = some.to(images.device)
                images[rows] = _affine(images[rows], matrices.to(images.device), fill, cubic)
        for number, operation in enumerate(COLOUR_OPERATIONS.values(), start=len(GEOMETRIC)):
            some = torch.nonzero(which == number)[:, 0]
            if len(some):
                rows = some.to(images.device)
                arguments = argument[some].to(images.device)[:, None, None, None]
                images[rows] = operation(images[rows], arguments)
    return images


# ---- geometric operations


def _matrices(which: Tensor, argument: Tensor, width: int, height: int) -> Tensor:
    """Pillow's affine coefficients, from output to input coordinates: [n, 6]."""
    matrices = torch.zeros(len(which), 6, dtype=torch.float64)
    matrices[:, 0] = matrices[:, 4] = 1
    for row, (number, value) in enumerate(zip(which.tolist(), argument.tolist(), strict=True)):
        name = GEOMETRIC[int(number)]
        if name == "rotate":
            matrices[row] = torch.tensor(_rotation(value, width, height), dtype=torch.float64)
        else:
            column = {"shear_x": 1, "translate_x_rel": 2, "shear_y": 3, "translate_y_rel": 5}[name]
            unit = {"translate_x_rel": width, "translate_y_rel": height}.get(name, 1)
            matrices[row, column] = value * unit
    return matrices


def _rotation(degrees: float, width: int, height: int) -> list[float]:
    """The coefficients of `Image.rotate`: about the centre, counter-clockwise."""
    angle = -math.radians(degrees)
    cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
    x, y = width / 2, height / 2
    return [cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y]


def _affine(images: Tensor, matrices: Tensor, fill: Sequence[int], cubic: bool) -> Tensor:
    """Pillow's affine transform: `fill` outside the image, border pixels repeated at its edge."""
    n, channels, height, width = images.shape
    y, x = torch.meshgrid(
        torch.arange(height, device=images.device) + 0.5,
        torch.arange(width, device=images.device) + 0.5,
        indexing="ij",
    )
    a, b, c, d, e, f = (column[:, None, None] for column in matrices.unbind(dim=1))
    from_x, from_y = a * x + b * y + c, d * x + e * y + f
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    columns, t_x = _neighbours(from_x - 0.5, width, cubic)
    rows, t_y = _neighbours(from_y - 0.5, height, cubic)
    flat = images.reshape(n, channels, -1).to(torch.float64)

    def pixels(row: Tensor, column: Tensor) -> Tensor:
        indices = (row * width + column).reshape(n, 1, -1).expand(-1, channels, -1)
        return flat.gather(2, indices).reshape(images.shape)

    lines = [_interpolate([pixels(row, column) for column in columns], t_x) for row in rows]
    # Pillow truncates, it does not round
    moved = _interpolate(lines, t_y).clamp_(0, 255).to(torch.uint8)
    empty = torch.tensor(fill, dtype=torch.uint8, device=images.device)[None, :, None, None]
    return torch.where(inside[:, None], moved, empty)


def _neighbours(positions: Tensor, length: int, cubic: bool) -> tuple[list[Tensor], Tensor]:
    """The 2 pixels around each position (4 for cubic), clamped, and its fraction, [n, 1, H, W]."""
    whole = positions.floor()
    steps = range(-1, 3) if cubic else range(2)
    indices = [(whole + step).clamp(0, length - 1).long() for step in steps]
    return indices, (positions - whole)[:, None]


def _interpolate(values: list[Tensor], t: Tensor) -> Tensor:
    """Linear (2 values) or cubic (4 values) interpolation.

    The terms are in Pillow's order, because the result is truncated. Pillow's cubic has a = -1 in
    affine transforms, and a = -1/2 in resizing.
    """
    if len(values) == 2:
        first, second = values
        return first + (second - first) * t
    a, b, c, d = values
    return b + t * (c - a + t * (2 * (a - b) + c - d + t * (b - a - c + d)))


# ---- colour operations


def _grey(images: Tensor) -> Tensor:
    """Pillow's luma: int32 [n, 1, H, W]."""
    red, green, blue = images.to(torch.int32).unbind(dim=1)
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16)[:, None]


def _blend(images: Tensor, degenerate: Tensor, factor: Tensor) -> Tensor:
    """`Image.blend`: degenerate + factor (image - degenerate), clamped and truncated."""
    base = degenerate.to(torch.float32)
    mixed = base + factor.to(torch.float32) * (images.to(torch.float32) - base)
    return mixed.clamp(0, 255).to(torch.uint8)


def _color(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(images, _grey(images), factor)


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    mean = _grey(images).double().mean(dim=(1, 2, 3), keepdim=True)
    return _blend(images, (mean + 0.5).floor(), factor)


def _brightness(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(images, torch.zeros_like(images), factor)


def _sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with Pillow's SMOOTH filter, which does not change the border."""
    kernel = torch.ones(3, 1, 3, 3, device=images.device)
    kernel[:, :, 1, 1] = 5
    smooth = images.to(torch.float32)
    inner = F.conv2d(smooth, kernel, groups=3) / 13
    smooth[:, :, 1:-1, 1:-1] = (inner + 0.5).floor()
    return _blend(images, smooth, factor)


def _posterize(images: Tensor, bits: Tensor) -> Tensor:
    mask = 256 - 2 ** (8 - bits.to(torch.int32))
    return (images.to(torch.int32) & mask).to(torch.uint8)


def _solarize(images: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(images < threshold, images, 255 - images)


def _solarize_add(images: Tensor, added: Tensor) -> Tensor:
    brighter = (images.to(torch.int32) + added.to(torch.int32)).clamp(max=255).to(torch.uint8)
    return torch.where(images < 128, brighter, images)


def _lookup(images: Tensor, tables: Tensor) -> Tensor:
    """Maps each channel of each image through its own table, [n, 3, 256]."""
    n, channels, height, width = images.shape
    flat = images.reshape(n, channels, -1).long()
    return tables.to(torch.uint8).gather(2, flat).reshape(n, channels, height, width)


def _auto_contrast(images: Tensor, _: Tensor) -> Tensor:
    low = images.amin(dim=(2, 3))[:, :, None].double()
    high = images.amax(dim=(2, 3))[:, :, None].double()
    levels = torch.arange(256, device=images.device, dtype=torch.float64).expand(*low.shape[:2], -1)
    # a scalar divided by a tensor is computed as scalar x reciprocal, which rounds differently
    scale = torch.full_like(high, 255) / (high - low).clamp(min=1)
    stretched = (levels * scale - low * scale).clamp(0, 255).trunc()
    return _lookup(images, torch.where(high > low, stretched, levels))


def _equalize(images: Tensor, _: Tensor) -> Tensor:
    n, channels = images.shape[:2]
    flat = images.reshape(n, channels, -1).long()
    counts = torch.zeros(n, channels, 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(2, flat, torch.ones_like(flat))
    last = counts.gather(2, flat.amax(dim=2, keepdim=True))
    step = (flat.shape[2] - last) // 255
    before = counts.cumsum(dim=2) - counts
    levels = torch.arange(256, device=images.device).expand_as(counts)
    table = (step // 2 + before) // step.clamp(min=1)
    several = (counts > 0).sum(dim=2, keepdim=True) > 1
    return _lookup(images, torch.where(several & (step > 0), table.clamp(max=255), levels))


COLOUR_OPERATIONS = {
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "invert": lambda images, _: 255 - images,
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "color": _color,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
}
NAMES = (*GEOMETRIC, *COLOUR_OPERATIONS)
