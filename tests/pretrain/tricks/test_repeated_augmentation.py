"""Repeated augmentation: the copies in an epoch, their processes, and timm's sampler as a peer."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from timm.data.distributed_sampler import RepeatAugSampler

from pretrain.images import datasets, loader
from pretrain.recipe import Recipe
from pretrain.tricks.repeated_augmentation import repeated


def test_copies_by_hand() -> None:
    order = np.array([4, 1, 0, 3, 2])

    assert repeated(order, 3).tolist() == [[4, 0], [4, 1], [4, 2], [1, 0], [1, 1]]
    assert repeated(order, 2).tolist() == [[4, 0], [4, 1], [1, 0], [1, 1], [0, 0]]
    assert repeated(order, 1).tolist() == [[4, 0], [1, 0], [0, 0], [3, 0], [2, 0]]
    assert repeated(order, 9).tolist() == [[4, k] for k in range(5)]


@pytest.mark.parametrize("samples", [1, 7, 96, 1000])
@pytest.mark.parametrize("repeats", [1, 2, 3, 4])
def test_an_epoch_keeps_its_length_and_covers_the_first_of_its_order(
    samples: int, repeats: int
) -> None:
    order = np.random.default_rng(samples).permutation(samples)

    found = repeated(order, repeats)

    assert found.shape == (samples, 2)
    assert len(set(map(tuple, found.tolist()))) == samples, "no copy twice"
    covered = math.ceil(samples / repeats)
    assert list(dict.fromkeys(found[:, 0].tolist())) == order[:covered].tolist()


@pytest.mark.parametrize("world", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("repeats", [1, 3, 5])
def test_processes_see_what_timms_sampler_gives_them(world: int, repeats: int) -> None:
    """timm rounds an epoch to multiples of 256 images: 1280 is 5 x 256."""
    samples = 1280
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(6)).numpy()
    ours = repeated(order, repeats)[:, 0]

    for rank in range(world):
        sampler = RepeatAugSampler(range(samples), world, rank, num_repeats=repeats)
        sampler.set_epoch(6)
        mine = list(sampler)
        assert len(mine) == samples // world
        assert ours[rank::world][: len(mine)].tolist() == mine


@pytest.mark.parametrize("samples", [1280, 1300, 2000])
def test_an_epoch_has_as_many_distinct_images_as_timms_up_to_its_rounding(samples: int) -> None:
    batches = epoch(samples, 64, repeats=3)
    ours = {sample for batch in batches for _, sample, _ in batch}
    theirs = {i for rank in range(2) for i in RepeatAugSampler(range(samples), 2, rank)}

    assert len(ours) == math.ceil(samples // 64 * 64 / 3)
    assert len(theirs) == math.ceil(samples // 256 * 256 / 3)
    assert 0 <= len(ours) - len(theirs) <= math.ceil(256 / 3)


def epoch(samples: int, batch: int, *, number: int = 0, **rest) -> loader.EpochBatches:
    return loader.EpochBatches(samples, batch, seed=1, epoch=number, **rest)


@pytest.mark.parametrize("world", [2, 3, 4, 6])
def test_neighbouring_copies_are_on_different_processes(world: int) -> None:
    """With as many processes as copies, or more, no two copies of a sample share one."""
    where = defaultdict(list)
    for rank in range(world):
        for batch in epoch(120, 24, rank=rank, world=world, repeats=3):
            assert len(batch) == 24 // world
            for _, sample, copy in batch:
                where[sample].append((copy, rank))

    assert len(where) == 40
    for found in where.values():
        copies, ranks = zip(*sorted(found), strict=True)
        assert copies == (0, 1, 2)
        assert ranks[0] != ranks[1] != ranks[2]
        if world >= 3:
            assert len(set(ranks)) == 3


@pytest.mark.parametrize(("world", "micro"), [(1, 2), (2, 1), (2, 2), (3, 1)])
def test_processes_together_see_each_batch_of_one_alone(world: int, micro: int) -> None:
    alone = list(epoch(130, 12, repeats=3))
    parts = [
        list(epoch(130, 12, repeats=3, rank=r, world=world, micro=micro)) for r in range(world)
    ]

    for step, batch in enumerate(alone):
        mine = slice(step * micro, (step + 1) * micro)
        together = [key for part in parts for one in part[mine] for key in one]
        assert sorted(together) == sorted(batch)


def test_another_epoch_covers_other_samples_and_a_start_continues_the_same_epoch() -> None:
    first, second = (
        {sample for batch in epoch(300, 30, repeats=3, number=n) for _, sample, _ in batch}
        for n in (0, 1)
    )
    assert len(first) == len(second) == 100
    assert 10 < len(first & second) < 60, "about a third of them"

    whole = list(epoch(300, 30, repeats=3))
    assert list(epoch(300, 30, repeats=3, start=4)) == whole[4:]


@pytest.mark.parametrize("world", [1, 2])
def test_each_copy_has_its_own_augmentation(
    make_images: Callable[..., datasets.ImageSet], tiny_recipe: Recipe, world: int
) -> None:
    images = make_images(24)
    view = loader.TrainingView(images, replace(tiny_recipe, repeats=3), seed=5)
    seen: dict[loader.Key, torch.Tensor] = {}
    for rank in range(world):
        batches = epoch(24, 12, rank=rank, world=world, repeats=3)
        for keys, (pixels, labels, _) in zip(
            list(batches), loader.training(view, batches, 0), strict=True
        ):
            for key, image, label in zip(keys, pixels, labels, strict=True):
                seen[key] = image
                assert label == images.labels[key[1]]

    assert len(seen) == 24
    for _, sample, copy in seen:
        others = [seen[0, sample, k] for k in range(3) if k != copy]
        assert not any(torch.equal(seen[0, sample, copy], other) for other in others)
        alone, *_ = view[0, sample, copy]
        assert torch.equal(alone, seen[0, sample, copy]), "in any process"
