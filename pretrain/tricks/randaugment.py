"""RandAugment (Cubuk et al., 2020): timm's, with random numbers from our generators."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
from PIL import Image
from timm.data.auto_augment import RandAugment, rand_augment_transform

from core.errors import InputError

NOTATION = re.compile(r"rand(-(m|n|w|p|t|inc|mstd|mmax)\d+(\.\d+)?)+")


@lru_cache
def policy(config: str, resolution: int, mean: tuple[float, float, float]) -> RandAugment:
    """timm's RandAugment for square images.

    Args:
        config: in timm's notation: "rand-m7-mstd0.5-inc1" is magnitude 7, its standard deviation
            0.5, and severity that increases with magnitude.
        resolution: in pixels; as in timm, absolute translations are up to 0.45 of it.
        mean: RGB in [0, 1], the fill colour of geometric operations.

    Raises:
        InputError: `config` is not in timm's notation. timm itself ignores what it cannot parse.
    """
    fill = tuple(round(255 * channel) for channel in mean)
    hints = dict(translate_const=int(0.45 * resolution), img_mean=fill)
    try:
        if not NOTATION.fullmatch(config):
            raise ValueError("not in timm's notation")
        found = rand_augment_transform(config, hints)
    except (AssertionError, KeyError, ValueError) as error:
        raise InputError(
            f"randaugment {config!r}: {error}; for example rand-m7-mstd0.5-inc1"
        ) from error
    for operation in found.ops:
        if operation.name.startswith("Posterize"):
            operation.level_fn = partial(_at_least_one_bit, operation.level_fn)
    return found


def _at_least_one_bit(bits: Callable[..., tuple[int]], *args: Any) -> tuple[int]:
    """timm's strongest posterisation keeps 0 bits, which Pillow refuses."""
    return (max(1, bits(*args)[0]),)


def randaugment(image: Image.Image, rng: np.random.Generator, augment: RandAugment) -> Image.Image:
    """Applies timm's RandAugment to one image, with all random numbers from `rng`.

    timm draws from the global generators of Python and NumPy, so `rng` seeds them first.
    """
    seed = int(rng.integers(2**32))
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - timm draws from it
    return augment(image)
