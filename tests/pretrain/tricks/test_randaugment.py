"""RandAugment: timm's pixels, with all random numbers from the given generator."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image
from timm.data import create_transform
from timm.data.auto_augment import RandAugment, rand_augment_transform

from core.errors import InputError
from pretrain.tricks.randaugment import policy, randaugment

A2 = "rand-m7-mstd0.5-inc1"
MEAN = (0.485, 0.456, 0.406)
SIDE = 32


@pytest.fixture(autouse=True)
def leave_global_generators_alone():
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    yield
    random.setstate(before[0])
    np.random.set_state(before[1])  # noqa: NPY002


@pytest.fixture(scope="module")
def image() -> Image.Image:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def ours(image: Image.Image, seed: int, config: str = A2) -> np.ndarray:
    return np.asarray(randaugment(image, np.random.default_rng(seed), policy(config, SIDE, MEAN)))


@pytest.mark.parametrize(
    "config", [A2, "rand-m6-mstd0.5-inc1", "rand-m9-n3", "rand-m8-p1.0-mstd101-inc1"]
)
def test_is_timms_transform_after_seeding_the_global_generators(
    image: Image.Image, config: str
) -> None:
    peer = rand_augment_transform(
        config, dict(translate_const=int(0.45 * SIDE), img_mean=(124, 116, 104))
    )
    changed = 0
    for number in range(40):
        seed = int(np.random.default_rng(number).integers(2**32))
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        expected = np.asarray(peer(image))

        np.testing.assert_array_equal(ours(image, number, config), expected)
        changed += not np.array_equal(expected, np.asarray(image))
    assert changed > 15


@pytest.mark.parametrize("side", [160, 224])
@pytest.mark.parametrize("config", [A2, "rand-m6-mstd0.5-inc1"])
def test_is_what_timm_builds_for_training_at_these_pixels(config: str, side: int) -> None:
    built = create_transform(
        side, is_training=True, auto_augment=config, interpolation="random", mean=MEAN
    )
    (peer,) = (t for t in built.transforms if isinstance(t, RandAugment))

    found = policy(config, side, MEAN)

    assert found.num_layers == peer.num_layers == 2
    assert len(found.ops) == len(peer.ops) == 15
    for mine, theirs in zip(found.ops, peer.ops, strict=True):
        own, peers = vars(mine) | {"level_fn": None}, vars(theirs) | {"level_fn": None}
        assert own == peers
        if not mine.name.startswith("Posterize"):  # ours keep at least one bit
            assert mine.level_fn is theirs.level_fn
        assert (mine.prob, mine.magnitude_std) == (0.5, 0.5)
        assert mine.magnitude == int(config[6])


def test_increasing_operations_are_used_if_the_notation_says_inc1() -> None:
    def names(config: str) -> set[str]:
        return {op.name for op in policy(config, SIDE, MEAN).ops}

    graded = {"Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness"}
    assert {f"{name}Increasing" for name in graded} <= names(A2)
    assert not graded & names(A2)
    assert graded <= names("rand-m7-mstd0.5")


def test_depends_on_its_generator_only(image: Image.Image) -> None:
    """The state of the global generators and earlier calls change nothing."""
    first = [ours(image, seed) for seed in range(12)]
    random.seed(99)
    np.random.seed(98)  # noqa: NPY002
    backwards = [ours(image, seed) for seed in reversed(range(12))][::-1]

    for one, two in zip(first, backwards, strict=True):
        np.testing.assert_array_equal(one, two)
    assert len({pixels.tobytes() for pixels in first}) > 6


def test_takes_one_number_from_its_generator(image: Image.Image) -> None:
    rng, reference = np.random.default_rng(4), np.random.default_rng(4)

    randaugment(image, rng, policy(A2, SIDE, MEAN))

    reference.integers(2**32)
    assert rng.random() == reference.random()


def test_does_not_change_its_input(image: Image.Image) -> None:
    before = np.asarray(image).copy()
    for seed in range(20):
        found = ours(image, seed)
        assert found.shape == (SIDE, SIDE, 3)
        assert found.dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(image), before)


def test_severity_increases_with_magnitude(image: Image.Image) -> None:
    """The mean distance from the image over the same seeds, with every operation applied."""
    plain = np.asarray(image).astype(float)

    def distance(magnitude: int) -> float:
        config = f"rand-m{magnitude}-p1.0-inc1"
        return float(np.mean([np.abs(ours(image, s, config) - plain).mean() for s in range(300)]))

    found = [distance(m) for m in (1, 4, 7, 9)]

    assert found == sorted(found)
    assert found[3] > 1.2 * found[0]


@pytest.mark.parametrize("config", ["rand-m10-p1.0-inc1", "rand-m1-p1.0", "rand-m8-mstd3-inc1"])
def test_every_magnitude_can_be_applied(image: Image.Image, config: str) -> None:
    """At magnitude 10 timm posterises to 0 bits; noise on 7 reaches 10 once in 10^9 draws."""
    for seed in range(100):
        assert ours(image, seed, config).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("seed", range(4))
def test_a_translation_fills_with_the_mean_colour(seed: int) -> None:
    white = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
    (op,) = (op for op in policy("rand-m10-p1.0", SIDE, MEAN).ops if op.name == "TranslateXRel")
    random.seed(seed)

    moved = np.asarray(op(white))

    empty = (moved == np.array([124, 116, 104])).all(axis=2)
    assert np.array_equal(empty, np.broadcast_to(empty[0], empty.shape)), "whole columns"
    columns = np.flatnonzero(empty[0])
    assert len(columns) in (13, 14, 15), "0.45 of 32 pixels, up to rounding"
    assert columns[0] == 0 or columns[-1] == SIDE - 1


@pytest.mark.parametrize(
    "config", ["", "m7", "rand", "augmix-m3", "rand-x7", "rand-m7.5", "rand-m-7", "rand-inc0.5"]
)
def test_bad_notation_is_refused(config: str) -> None:
    with pytest.raises(InputError) as caught:
        policy(config, SIDE, MEAN)

    message = str(caught.value)
    assert message.startswith(f"randaugment {config!r}: ")
    assert message.endswith("for example rand-m7-mstd0.5-inc1")
    assert "\n" not in message
