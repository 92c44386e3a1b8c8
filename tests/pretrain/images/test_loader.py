"""Batches: the same for any number of workers and processes, and after a restart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import InputError, RunError
from pretrain.images import datasets, loader
from pretrain.recipe import Recipe


def indices(batches: loader.EpochBatches) -> list[list[int]]:
    return [[index for _, index, _ in batch] for batch in batches]


def flat(batches: list[list[int]]) -> list[int]:
    return [index for batch in batches for index in batch]


def epoch(samples: int = 100, batch: int = 12, *, seed: int = 0, number: int = 0, **rest):
    return loader.EpochBatches(samples, batch, seed=seed, epoch=number, **rest)


def test_an_epoch_is_a_permutation_without_the_last_partial_batch() -> None:
    batches = indices(epoch())

    assert [len(batch) for batch in batches] == [12] * 8
    order = flat(batches)
    assert len(set(order)) == 96
    assert set(order) <= set(range(100))
    assert order != sorted(order)
    assert len(epoch()) == 8


def test_no_sample_is_left_out_if_the_batches_divide() -> None:
    assert sorted(flat(indices(epoch(96)))) == list(range(96))


def test_keys_carry_their_epoch() -> None:
    assert {number for batch in epoch(number=3) for number, _, _ in batch} == {3}


def test_epochs_and_seeds_differ_and_repeat() -> None:
    orders = [indices(epoch(seed=s, number=n)) for s in (0, 1) for n in (0, 1, 2)]
    assert len({str(order) for order in orders}) == 6
    assert indices(epoch(seed=1, number=2)) == orders[5]

    left_out = [set(range(100)) - set(flat(order)) for order in orders]
    assert len({frozenset(rest) for rest in left_out}) > 1, "the samples left out differ"


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("micro", [1, 2])
def test_processes_and_micro_batches_partition_each_batch(world: int, micro: int) -> None:
    alone = indices(epoch(batch=24))
    parts = [indices(epoch(batch=24, rank=r, world=world, micro=micro)) for r in range(world)]

    size = 24 // (world * micro)
    for mine in parts:
        assert [len(batch) for batch in mine] == [size] * (4 * micro)
    for step in range(4):
        together = [
            i for mine in parts for batch in mine[step * micro : (step + 1) * micro] for i in batch
        ]
        assert sorted(together) == sorted(alone[step])
        assert len(set(together)) == 24


@pytest.mark.parametrize("micro", [1, 2])
@pytest.mark.parametrize("start", [0, 1, 5, 8])
def test_a_start_continues_exactly(start: int, micro: int) -> None:
    whole = indices(epoch(micro=micro))
    rest = epoch(micro=micro, start=start)

    assert indices(rest) == whole[start * micro :]
    assert len(rest) == len(whole) - start * micro


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(InputError, match="a batch of 12 does not divide over 5 processes x 1"):
        epoch(world=5)
    for micro in (4, 0, -1):
        with pytest.raises(InputError, match=f"12 does not divide over 2 processes x {micro} "):
            epoch(world=2, micro=micro)


def test_a_batch_larger_than_the_set_is_refused() -> None:
    with pytest.raises(InputError, match="11 training samples do not fill one batch of 12"):
        epoch(11)
    with pytest.raises(InputError, match="0 training samples"):
        loader.steps_per_epoch(0, 1)
    for nothing in (0, -4):
        with pytest.raises(InputError, match=f"do not fill one batch of {nothing}"):
            loader.steps_per_epoch(12, nothing)
    assert loader.steps_per_epoch(12, 12) == 1
    assert loader.steps_per_epoch(35, 12) == 2


def test_without_repeats_each_sample_is_its_first_copy() -> None:
    assert {copy for batch in epoch() for _, _, copy in batch} == {0}


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("world", [1, 2])
def test_copies_are_in_one_step_and_on_different_processes(world: int, start: int) -> None:
    """An epoch of 100 samples gives 96: the first 32 of its order, three times each."""
    parts = [list(epoch(rank=r, world=world, start=start, repeats=3)) for r in range(world)]

    order = flat(indices(epoch()))
    for step, batches in enumerate(zip(*parts, strict=True), start):
        together = sorted(key[1:] for batch in batches for key in batch)
        wanted = order[4 * step : 4 * step + 4]
        assert together == sorted((index, copy) for index in wanted for copy in range(3))
        for batch in batches:
            copies = [index for _, index, _ in batch]
            assert all(copies.count(index) in (3 // world, 3 // world + 1) for index in copies)
    assert step == 7


Batches = list[loader.Batch]


def read(images: datasets.ImageSet, recipe: Recipe, workers: int, **changes) -> Batches:
    view = loader.TrainingView(images, recipe, seed=4)
    batches = loader.EpochBatches(len(images), 8, **({"seed": 4, "epoch": 1} | changes))
    return list(loader.training(view, batches, workers))


def same(one: Batches, two: Batches) -> bool:
    return len(one) == len(two) and all(
        torch.equal(a, c) and torch.equal(b, d) and p == q
        for (a, b, p), (c, d, q) in zip(one, two, strict=True)
    )


def test_workers_change_nothing(
    make_images: Callable[..., datasets.ImageSet], tiny_recipe: Recipe
) -> None:
    images = make_images(30)

    alone, helped = (read(images, tiny_recipe, workers) for workers in (0, 2))

    assert len(alone) == 3
    assert alone[0][0].shape == (8, 3, 32, 32)
    assert alone[0][0].dtype == torch.uint8
    assert alone[0][1].dtype == torch.int64
    assert same(alone, helped)
    assert same(alone[1:], read(images, tiny_recipe, 0, start=1))
    assert not same(alone, read(images, tiny_recipe, 0, epoch=2))


def test_a_samples_crop_does_not_depend_on_its_process(
    make_images: Callable[..., datasets.ImageSet], tiny_recipe: Recipe
) -> None:
    images = make_images(30)
    alone = read(images, tiny_recipe, 0)
    parts = [read(images, tiny_recipe, 0, rank=r, world=2) for r in range(2)]

    for step, (pixels, _, _) in enumerate(alone):
        found = torch.cat([part[step][0] for part in parts])
        one, two = ({p.numpy().tobytes() for p in x} for x in (pixels, found))
        assert one == two


def test_labels_stay_with_their_images(tiny_recipe: Recipe) -> None:
    """Each image is a grey that identifies its label."""
    labels = np.arange(20) % 5
    greys = np.broadcast_to((50 * labels)[:, None, None, None], (20, 30, 30, 3))
    images = datasets.ImageSet(
        "x", "x", "train", tuple("abcde"), labels, Path(), pixels=greys.astype(np.uint8)
    )

    for pixels, found, problems in read(images, tiny_recipe, 0):
        assert problems == []
        assert torch.equal(pixels, (50 * found)[:, None, None, None].expand_as(pixels))


def test_a_samples_crop_changes_with_the_epoch(
    make_images: Callable[..., datasets.ImageSet], tiny_recipe: Recipe
) -> None:
    view = loader.TrainingView(make_images(4), tiny_recipe, seed=0)

    crops = {view[n, 2, 0][0].numpy().tobytes() for n in range(5)}

    assert len(crops) == 5
    assert torch.equal(view[3, 2, 0][0], view[3, 2, 0][0])
    assert not torch.equal(view[3, 2, 0][0], view[3, 2, 1][0]), "copies differ too"
    assert view[0, 2, 0][0].shape == (3, 32, 32)
    other = loader.TrainingView(make_images(4), replace(tiny_recipe, train_resolution=48), seed=0)
    assert other[0, 2, 0][0].shape == (3, 48, 48)


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [20, 21, 5])
def test_evaluation_sees_each_sample_once(
    make_images: Callable[..., datasets.ImageSet], world: int, count: int
) -> None:
    view = loader.EvaluationView(make_images(count), 24, 1.0, "bilinear")
    seen: list[bytes] = []
    for rank in range(world):
        for pixels, labels, _ in loader.evaluation(view, 4, 0, rank=rank, world=world):
            assert len(pixels) == len(labels) <= 4
            for image, label in zip(pixels, labels, strict=True):
                seen.append(image.numpy().tobytes() + bytes([int(label)]))

    expected = [view[i][0].numpy().tobytes() + bytes([view[i][1]]) for i in range(count)]
    assert sorted(seen) == sorted(expected)
    assert len(set(expected)) == count


@pytest.mark.parametrize(
    ("error", "workers", "named"),
    [
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), 2, True),
        (ConnectionResetError(104, "Connection reset by peer"), 2, True),
        (EOFError(), 2, True),
        (ConnectionResetError(104, "Connection reset by peer"), 0, False),
        (RuntimeError("out of memory"), 2, False),
    ],
)
def test_a_dead_workers_error_is_explained(error: Exception, workers: int, named: bool) -> None:
    expected = RunError if named else type(error)
    with pytest.raises(expected) as caught, loader.report_dead_workers(workers):
        raise error
    if named:
        assert str(caught.value).startswith("a loader process died (")
