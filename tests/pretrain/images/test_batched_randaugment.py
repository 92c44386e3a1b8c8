"""Batched RandAugment against timm's, which changes one Pillow image at a time."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment

from core.errors import InputError
from pretrain.images import batched_randaugment as batched
from pretrain.tricks.randaugment import policy, randaugment

MEAN = (0.485, 0.456, 0.406)
FILL = [round(255 * channel) for channel in MEAN]
ARGUMENTS = {
    "shear_x": (-0.3, 0.1, 0.29),
    "shear_y": (-0.3, 0.1, 0.29),
    "translate_x_rel": (-0.45, 0.1, 0.33),
    "translate_y_rel": (-0.45, 0.1, 0.33),
    "rotate": (-30.0, 7.5, 0.0, 30.0),
    "auto_contrast": (0.0,),
    "equalize": (0.0,),
    "invert": (0.0,),
    "posterize": (1, 3, 4, 8),
    "solarize": (0, 128, 250, 256),
    "solarize_add": (0, 60, 110),
    "color": (0.1, 0.9, 1.0, 1.9),
    "contrast": (0.1, 0.9, 1.0, 1.9),
    "brightness": (0.1, 0.9, 1.0, 1.9),
    "sharpness": (0.1, 0.9, 1.0, 1.9),
}


def make_images(side: int = 32) -> np.ndarray:
    """Noise, a ramp, one colour, two colours, and dark noise."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (side, side, 3))
    ramp = np.broadcast_to(np.linspace(3, 250, side)[:, None, None], (side, side, 3))
    flat = np.full((side, side, 3), 77)
    two = np.where(rng.random((side, side, 1)) < 0.5, [10, 200, 30], [11, 90, 250])
    dark = rng.integers(0, 40, (side, side, 3))
    return np.stack([noise, ramp, flat, two, dark]).astype(np.uint8)


def tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


@pytest.mark.parametrize(
    ("name", "argument", "cubic"),
    [
        (name, argument, cubic)
        for name, values in ARGUMENTS.items()
        for argument in values
        for cubic in ((False, True) if name in batched.GEOMETRIC else (False,))
    ],
)
def test_each_operation_is_timms(name: str, argument: float, cubic: bool) -> None:
    images = make_images()
    row = [batched.NAMES.index(name), argument, cubic]
    found = batched.apply(
        tensor(images), torch.tensor([row] * len(images), dtype=torch.float64), FILL
    )

    resample = Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR
    operation = getattr(auto_augment, name)
    bare = name in ("auto_contrast", "equalize", "invert")
    whole = name in ("posterize", "solarize", "solarize_add")
    words = [] if bare else [int(argument) if whole else argument]
    expected = np.stack(
        [
            np.asarray(
                operation(Image.fromarray(it), *words, fillcolor=tuple(FILL), resample=resample)
            )
            for it in images
        ]
    )
    difference = np.abs(found.numpy().transpose(0, 2, 3, 1).astype(int) - expected)
    assert difference.max() <= (1 if name in batched.GEOMETRIC else 0)
    assert (difference > 0).mean() < 0.001


@pytest.mark.parametrize("config", ["rand-m7-mstd0.5-inc1", "rand-m6-mstd0.5-inc1", "rand-m9-n3"])
def test_a_policy_is_timms_draw_by_draw(config: str) -> None:
    images = np.concatenate([make_images()] * 12)
    timms = policy(config, 32, MEAN)
    drawn = [batched.draw(np.random.default_rng(i), timms) for i in range(len(images))]
    found = (
        batched.apply(tensor(images), torch.tensor(drawn, dtype=torch.float64), FILL)
        .numpy()
        .transpose(0, 2, 3, 1)
    )

    differences = []
    for i, image in enumerate(images):
        rng = np.random.default_rng(i)
        expected = np.asarray(randaugment(Image.fromarray(image), rng, timms))
        differences.append(np.abs(found[i].astype(int) - expected).mean())
    # a rotation's rounding difference can cross a threshold of the next operation
    assert np.median(differences) == 0
    assert np.mean(differences) < 0.1
    assert len(set(map(tuple, drawn))) >= 30


def test_drawing_takes_as_many_numbers_from_the_generator_as_randaugment() -> None:
    timms = policy("rand-m7-mstd0.5-inc1", 32, MEAN)
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    batched.draw(one, timms)
    randaugment(Image.fromarray(make_images()[0]), other, timms)
    assert one.random() == other.random()


def test_no_operation_changes_nothing() -> None:
    images = tensor(make_images())
    drawn = torch.full((len(images), 2 * batched.LENGTH), batched.NO_OPERATION)
    assert torch.equal(batched.apply(images, drawn, FILL), images)


def test_an_unknown_operation_is_refused() -> None:
    timms = auto_augment.rand_augment_transform("rand-m7", dict(img_mean=tuple(FILL)))
    timms.ops[0].aug_fn = partial(auto_augment.desaturate)
    timms.ops[0].aug_fn.__name__ = "desaturate"
    with pytest.raises(InputError, match="has no batched version"):
        batched.draw(np.random.default_rng(0), timms)
