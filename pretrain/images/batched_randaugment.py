"""RandAugment's operations on a batch of uint8 images on the device, each image with its own.

timm draws the operations and their magnitudes, on the host (`plan`); they are Pillow's, in integers
where Pillow's are, so that what does not move pixels is the same to the last bit, and what does,
within a step of 255 (tests/pretrain/test_batched_randaugment.py).
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
NAMES = (
    *GEOMETRIC,
    *("auto_contrast", "equalize", "invert", "posterize", "solarize", "solarize_add"),
    *("color", "contrast", "brightness", "sharpness"),
)
BICUBIC = 3  # Pillow's number
NOTHING = -1.0  # no operation
WIDTH = 3  # numbers of one operation: which of NAMES, its argument, whether bicubic


def plan(rng: np.random.Generator, apply: RandAugment) -> list[float]:
    """What timm's RandAugment draws for one image: WIDTH numbers for each of its operations.

    As `randaugment`, it takes one number from `rng`.

    Raises:
        InputError: an operation that is none of NAMES.
    """
    seed = int(rng.integers(2**32))
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what timm draws from
    noted = _noting(apply)([])
    missing = WIDTH * apply.num_layers - len(noted)
    return [*noted, *[NOTHING] * missing]


@lru_cache
def _noting(apply: RandAugment) -> RandAugment:
    """A policy that draws the same, and appends it to a list in place of changing an image."""
    noting = copy.deepcopy(apply)
    for operation in noting.ops:
        name = operation.aug_fn.__name__
        if name not in NAMES:
            raise InputError(
                f"randaugment: {operation.name} cannot be done in batch; known: {', '.join(NAMES)}"
            )
        operation.aug_fn = _noter(name)
    return noting


def _noter(name: str):
    def note(noted: list[float], argument: float = 0.0, **settings: Any) -> list[float]:
        bicubic = False
        if name in GEOMETRIC:  # timm draws the interpolation when it comes to use it
            resample = settings["resample"]
            chosen = random.choice(resample) if isinstance(resample, tuple) else resample
            bicubic = int(chosen) == BICUBIC
        return [*noted, NAMES.index(name), float(argument), bicubic]

    return note


def apply(images: Tensor, plans: Tensor, fill: Sequence[int]) -> Tensor:
    """A batch with each image's operations, one after the other.

    Args:
        images: uint8 [n, 3, H, W].
        plans: [n, operations x WIDTH], on the host, as `plan` makes them.
        fill: RGB of what a geometric operation leaves empty.
    """
    images = images.clone()
    for first in range(0, plans.shape[1], WIDTH):
        which, argument, bicubic = plans[:, first : first + WIDTH].unbind(dim=1)
        geometric = (which >= 0) & (which < len(GEOMETRIC))
        for cubic in (False, True):
            some = torch.nonzero(geometric & (bicubic.bool() == cubic))[:, 0]
            if len(some):
                matrices = _matrices(which[some], argument[some], images.shape[3], images.shape[2])
                rows = some.to(images.device)
                images[rows] = _transformed(images[rows], matrices.to(images.device), fill, cubic)
        for number in range(len(GEOMETRIC), len(NAMES)):
            some = torch.nonzero(which == number)[:, 0]
            if len(some):
                rows = some.to(images.device)
                arguments = argument[some].to(images.device)[:, None, None, None]
                images[rows] = OPERATIONS[NAMES[number]](images[rows], arguments)
    return images


# ---- moving pixels


def _matrices(which: Tensor, argument: Tensor, width: int, height: int) -> Tensor:
    """Pillow's six numbers of each operation, from output places to input places: [n, 6]."""
    found = torch.zeros(len(which), 6, dtype=torch.float64)
    found[:, 0] = found[:, 4] = 1
    for row, (number, value) in enumerate(zip(which.tolist(), argument.tolist(), strict=True)):
        name = GEOMETRIC[int(number)]
        if name == "rotate":
            found[row] = torch.tensor(_rotation(value, width, height), dtype=torch.float64)
        else:
            column = {"shear_x": 1, "translate_x_rel": 2, "shear_y": 3, "translate_y_rel": 5}[name]
            unit = {"translate_x_rel": width, "translate_y_rel": height}.get(name, 1)
            found[row, column] = value * unit
    return found


def _rotation(degrees: float, width: int, height: int) -> list[float]:
    """About the centre, counter-clockwise, as `Image.rotate`."""
    angle = -math.radians(degrees)
    cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
    x, y = width / 2, height / 2
    return [cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y]


def _transformed(images: Tensor, matrices: Tensor, fill: Sequence[int], cubic: bool) -> Tensor:
    """Pillow's affine transform: what comes from outside is `fill`, neighbours are clamped."""
    n, channels, height, width = images.shape
    y, x = torch.meshgrid(
        torch.arange(height, device=images.device) + 0.5,
        torch.arange(width, device=images.device) + 0.5,
        indexing="ij",
    )
    a, b, c, d, e, f = (column[:, None, None] for column in matrices.unbind(dim=1))
    from_x, from_y = a * x + b * y + c, d * x + e * y + f
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    columns, across = _neighbours(from_x - 0.5, width, cubic)
    rows, down = _neighbours(from_y - 0.5, height, cubic)
    flat = images.reshape(n, channels, -1).to(torch.float64)

    def pixels(row: Tensor, column: Tensor) -> Tensor:
        places = (row * width + column).reshape(n, 1, -1).expand(-1, channels, -1)
        return flat.gather(2, places).reshape(images.shape)

    lines = [_between([pixels(row, column) for column in columns], across) for row in rows]
    total = _between(lines, down)
    # Pillow cuts the fraction off
    moved = total.clamp_(0, 255).to(torch.uint8)
    empty = torch.tensor(fill, dtype=torch.uint8, device=images.device)[None, :, None, None]
    return torch.where(inside[:, None], moved, empty)


def _neighbours(places: Tensor, length: int, cubic: bool) -> tuple[list[Tensor], Tensor]:
    """Indices of the 2 pixels around each place, or 4 for cubic, clamped; and how far it is past
    the one before it, [n, 1, H, W].
    """
    whole = places.floor()
    steps = range(-1, 3) if cubic else range(2)
    return [(whole + step).clamp(0, length - 1).long() for step in steps], (places - whole)[:, None]


def _between(values: list[Tensor], t: Tensor) -> Tensor:
    """Linear interpolation of 2 values or cubic of 4, term by term as Pillow's, for the fraction of
    the result is cut. Its cubic has a = -1 here, and -1/2 when it resizes.
    """
    if len(values) == 2:
        first, second = values
        return first + (second - first) * t
    a, b, c, d = values
    return b + t * (c - a + t * (2 * (a - b) + c - d + t * (b - a - c + d)))


# ---- changing colours


def _grey(images: Tensor) -> Tensor:
    """Pillow's luma, int32 [n, 1, H, W]."""
    red, green, blue = images.to(torch.int32).unbind(dim=1)
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16)[:, None]


def _blended(images: Tensor, degenerate: Tensor, factor: Tensor) -> Tensor:
    """`Image.blend`: on the line from the degenerate image through this one, the fraction cut."""
    base = degenerate.to(torch.float32)
    mixed = base + factor.to(torch.float32) * (images.to(torch.float32) - base)
    return mixed.clamp(0, 255).to(torch.uint8)


def _color(images: Tensor, factor: Tensor) -> Tensor:
    return _blended(images, _grey(images), factor)


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    mean = _grey(images).double().mean(dim=(1, 2, 3), keepdim=True)
    return _blended(images, (mean + 0.5).floor(), factor)


def _brightness(images: Tensor, factor: Tensor) -> Tensor:
    return _blended(images, torch.zeros_like(images), factor)


def _sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Pillow's SMOOTH filter is the degenerate image; it leaves the border as it is."""
    kernel = torch.ones(3, 1, 3, 3, device=images.device)
    kernel[:, :, 1, 1] = 5
    smooth = images.to(torch.float32)
    inner = F.conv2d(smooth, kernel, groups=3) / 13
    smooth[:, :, 1:-1, 1:-1] = (inner + 0.5).floor()
    return _blended(images, smooth, factor)


def _posterize(images: Tensor, bits: Tensor) -> Tensor:
    mask = 256 - 2 ** (8 - bits.to(torch.int32))
    return (images.to(torch.int32) & mask).to(torch.uint8)


def _solarize(images: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(images < threshold, images, 255 - images)


def _solarize_add(images: Tensor, added: Tensor) -> Tensor:
    brighter = (images.to(torch.int32) + added.to(torch.int32)).clamp(max=255).to(torch.uint8)
    return torch.where(images < 128, brighter, images)


def _looked_up(images: Tensor, tables: Tensor) -> Tensor:
    """Each channel of each image through its own table, [n, 3, 256]."""
    n, channels, height, width = images.shape
    flat = images.reshape(n, channels, -1).long()
    return tables.to(torch.uint8).gather(2, flat).reshape(n, channels, height, width)


def _auto_contrast(images: Tensor, _: Tensor) -> Tensor:
    low = images.amin(dim=(2, 3))[:, :, None].double()
    high = images.amax(dim=(2, 3))[:, :, None].double()
    levels = torch.arange(256, device=images.device, dtype=torch.float64).expand(*low.shape[:2], -1)
    # a number over a tensor would be the number times the reciprocals, which rounds otherwise
    scale = torch.full_like(high, 255) / (high - low).clamp(min=1)
    stretched = (levels * scale - low * scale).clamp(0, 255).trunc()
    return _looked_up(images, torch.where(high > low, stretched, levels))


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
    return _looked_up(images, torch.where(several & (step > 0), table.clamp(max=255), levels))


OPERATIONS = {
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
