"""RandAugment in batch against timm's, image by image, on Pillow's images."""

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


def pictures(side: int = 32) -> np.ndarray:
    """Noise, ramps, a flat one, one of two colours, and one of few and dark colours."""
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
    images = pictures()
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
def test_the_whole_is_timms_draw_by_draw(config: str) -> None:
    images = np.concatenate([pictures()] * 12)
    apply = policy(config, 32, MEAN)
    plans = [batched.plan(np.random.default_rng(i), apply) for i in range(len(images))]
    found = (
        batched.apply(tensor(images), torch.tensor(plans, dtype=torch.float64), FILL)
        .numpy()
        .transpose(0, 2, 3, 1)
    )

    differences = []
    for i, picture in enumerate(images):
        rng = np.random.default_rng(i)
        expected = np.asarray(randaugment(Image.fromarray(picture), rng, apply))
        differences.append(np.abs(found[i].astype(int) - expected).mean())
    # a step of 255 that a rotation rounds may fall on a threshold of what comes after it
    assert np.median(differences) == 0
    assert np.mean(differences) < 0.1
    assert len({tuple(plan) for plan in plans}) >= 30


def test_a_plan_takes_as_much_from_the_generator() -> None:
    apply = policy("rand-m7-mstd0.5-inc1", 32, MEAN)
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    batched.plan(one, apply)
    randaugment(Image.fromarray(pictures()[0]), other, apply)
    assert one.random() == other.random()


def test_what_is_skipped_changes_nothing() -> None:
    images = tensor(pictures())
    plans = torch.full((len(images), 2 * batched.WIDTH), batched.NOTHING)
    assert torch.equal(batched.apply(images, plans, FILL), images)


def test_an_operation_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = auto_augment.rand_augment_transform("rand-m7", dict(img_mean=tuple(FILL)))
    apply.ops[0].aug_fn = partial(auto_augment.desaturate)
    apply.ops[0].aug_fn.__name__ = "desaturate"
    with pytest.raises(InputError, match="cannot be done in batch"):
        batched.plan(np.random.default_rng(0), apply)
