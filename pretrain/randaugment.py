"""RandAugment (Cubuk et al., 2020), timm's, with its random numbers addressed like all others."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image
from timm.data.auto_augment import rand_augment_transform

from pretrain.errors import InputError


@lru_cache
def policy(
    config: str, resolution: int, mean: tuple[float, float, float]
) -> Callable[[Image.Image], Image.Image]:
    """timm's RandAugment for square images.

    Args:
        config: in timm's notation: "rand-m7-mstd0.5-inc1" is magnitude 7, standard deviation 0.5,
            severity increasing with magnitude.
        resolution: in pixels; translations are up to 0.45 of it, as timm has it.
        mean: of RGB in [0, 1], the colour of what a geometric operation leaves empty.

    Raises:
        InputError: timm cannot read the notation.
    """
    fill = tuple(round(255 * channel) for channel in mean)
    hints = dict(translate_const=int(0.45 * resolution), img_mean=fill)
    try:
        if not config.startswith("rand-"):
            raise ValueError("expected rand-...")
        return rand_augment_transform(config, hints)
    except (AssertionError, KeyError, ValueError) as error:
        raise InputError(
            f"randaugment {config!r}: {error}; for example rand-m7-mstd0.5-inc1"
        ) from error


def randaugment(
    image: Image.Image, rng: np.random.Generator, apply: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """One image through a policy, whose draws follow from `rng` alone.

    timm draws from the global generators of Python and NumPy, so these are seeded first.
    """
    seed = int(rng.integers(2**32))
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    return apply(image)
