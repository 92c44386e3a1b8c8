"""Subsets and splits: sizes, balance, and the same result for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.errors import InputError
from pretrain.images import datasets, splits


def test_random_subset_has_the_given_size(
    make_images: Callable[..., datasets.ImageSet],
) -> None:
    images = make_images(200)
    assert splits.random_subset(images, None, 0) is images

    one, two, other = (splits.random_subset(images, 30, seed) for seed in (0, 0, 1))

    index = {image.tobytes(): i for i, image in enumerate(images.pixels)}
    taken = [index[image.tobytes()] for image in one.pixels]
    assert len(set(taken)) == len(one) == 30
    assert one.labels.tolist() == [i % 3 for i in taken]
    assert one.classes == images.classes
    assert max(taken) > 100, "not only the first"
    np.testing.assert_array_equal(one.pixels, two.pixels)
    assert not np.array_equal(one.pixels, other.pixels)
    assert len(splits.random_subset(images, 999, 0)) == 200


@pytest.mark.parametrize("limit", [0, -5])
def test_a_limit_below_one_is_refused(
    make_images: Callable[..., datasets.ImageSet], limit: int
) -> None:
    with pytest.raises(InputError, match=f"a limit of {limit} samples: expected 1 or more"):
        splits.random_subset(make_images(12), limit, 0)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_per_class_split_is_a_stratified_partition(share: float) -> None:
    counts = {0: 100, 1: 50, 2: 7, 3: 2, 4: 1}
    labels = np.random.default_rng(0).permutation(np.repeat(list(counts), list(counts.values())))

    kept, held = splits.per_class_split(labels, share, seed=0)

    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert np.all(np.diff(kept) > 0)
    assert np.all(np.diff(held) > 0)
    for label, count in counts.items():
        wanted = 0 if count == 1 else max(1, round(share * count))
        assert np.sum(labels[held] == label) == wanted


def test_per_class_split_follows_its_seed() -> None:
    labels = np.arange(200) % 4
    one, two, other = (splits.per_class_split(labels, 0.2, seed)[1].tolist() for seed in (0, 0, 1))

    assert one == two
    assert one != other


def images_of(labels: np.ndarray) -> datasets.ImageSet:
    pixels = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    names = tuple(map(str, range(labels.max() + 1)))
    return datasets.ImageSet("s", "s", "train", names, labels, Path("."), pixels=pixels)


@pytest.mark.parametrize("size", [10, 23, 59])
def test_a_few_shot_subset_is_balanced_over_the_classes(size: int) -> None:
    labels = np.repeat(np.arange(5), [3, 7, 10, 20, 20])
    found = splits.training_subset(images_of(labels), None, size, seed=1)
    counts = np.bincount(found.labels, minlength=5)
    assert len(found) == size == len(np.unique(found.pixels))
    np.testing.assert_array_equal(labels[found.pixels.ravel()], found.labels)
    most = counts.max()
    for count, there in zip(counts, (3, 7, 10, 20, 20), strict=True):
        assert count >= min(there, most - 1)


def test_a_few_shot_subset_follows_its_seed() -> None:
    whole = images_of(np.arange(100) % 4)
    first, again, other = (
        splits.training_subset(whole, None, 20, seed).pixels.ravel() for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)
    assert splits.training_subset(whole, None, None, 0) is whole


@pytest.mark.parametrize("size", [0, 1, 101, "x"])
def test_a_few_shot_subset_of_an_impossible_size_is_refused(size: object) -> None:
    with pytest.raises(InputError, match="expected 2 to 100 samples"):
        splits.training_subset(images_of(np.arange(100) % 4), None, size, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("classes", [10, 365, 1000])
def test_vtab_holds_out_200_of_1000(classes: int) -> None:
    labels = np.arange(1000) % classes
    kept, held = splits.validation_split(labels, 0.2, seed=0, few_shot=True)
    assert (len(kept), len(held)) == (800, 200)
    assert sorted([*kept, *held]) == list(range(1000))
    counts = np.bincount(labels[held], minlength=classes)
    assert counts.max() - counts.min() <= 1


def test_a_full_set_is_split_class_by_class() -> None:
    labels = np.repeat(np.arange(3), [10, 20, 5])
    _, held = splits.validation_split(labels, 0.2, seed=0)
    np.testing.assert_array_equal(np.bincount(labels[held]), [2, 4, 1])
