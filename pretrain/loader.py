"""From an image set to batches on the host.

What a run sees is a pure function of (seed, epoch, step): the order of an epoch, and each sample's
crop, are drawn from generators seeded by where they stand. So the batches are the same whatever
the number of workers, and a resumed run goes on at its step without reading what it has seen.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pretrain import augment
from pretrain.data import ImageSet
from pretrain.errors import InputError
from pretrain.recipe import Recipe


class TrainingView(Dataset):
    """An image set's samples as a recipe's training sees them, indexed by (epoch, sample)."""

    def __init__(self, images: ImageSet, recipe: Recipe, seed: int) -> None:
        self.images, self.recipe, self.seed = images, recipe, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, index = key
        rng = np.random.default_rng((self.seed, epoch, index))
        pixels = augment.for_training(
            self.images.image(index), rng, self.recipe.train_resolution, self.recipe.interpolation
        )
        return pixels, int(self.images.labels[index])


class EvaluationView(Dataset):
    """An image set's samples as an evaluation sees them: shorter side resized, central crop."""

    def __init__(
        self, images: ImageSet, resolution: int, crop_ratio: float, interpolation: str
    ) -> None:
        self.images = images
        self.geometry = (resolution, crop_ratio, interpolation)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = augment.for_evaluation(self.images.image(index), *self.geometry)
        return pixels, int(self.images.labels[index])


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Whole batches in an epoch; the rest of an epoch's order is left out, another rest each epoch.

    Raises:
        InputError: not even one batch.
    """
    if not 0 < batch_size <= samples:
        raise InputError(f"{samples} training samples do not fill one batch of {batch_size}")
    return samples // batch_size


class EpochBatches:
    """A batch sampler: one epoch's micro-batches for one process, from a step on.

    Args:
        samples: size of the training set.
        batch_size: over all processes and micro-batches.
        start: the step to begin at.
        rank, world: this process and how many there are.
        micro: micro-batches per step and process.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        *,
        seed: int,
        epoch: int,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
        micro: int = 1,
    ) -> None:
        if micro < 1 or batch_size % (world * micro):
            raise InputError(
                f"a batch of {batch_size} does not divide over {world} processes x {micro} "
                f"micro-batches"
            )
        self.steps = steps_per_epoch(samples, batch_size)
        self.epoch, self.start, self.micro = epoch, start, micro
        order = np.random.default_rng((seed, epoch)).permutation(samples)
        self.batches = order[: self.steps * batch_size].reshape(self.steps, batch_size)
        self.mine = slice(rank, None, world)

    def __len__(self) -> int:
        return (self.steps - self.start) * self.micro

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self.batches[self.start :, self.mine]:
            for part in np.split(batch, self.micro):
                yield [(self.epoch, int(index)) for index in part]


def training(view: TrainingView, batches: EpochBatches, workers: int) -> DataLoader:
    """One epoch's micro-batches: uint8 [n, 3, H, W] and labels [n]."""
    return DataLoader(
        view,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )


def evaluation(
    view: EvaluationView, batch_size: int, workers: int, rank: int = 0, world: int = 1
) -> DataLoader:
    """Every `world`-th sample from `rank` on, so that over all processes each is seen once."""
    mine = range(rank, len(view), world)
    return DataLoader(
        view,
        batch_size=batch_size,
        sampler=mine,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )
