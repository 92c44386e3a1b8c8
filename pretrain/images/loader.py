"""From an image set to batches on the host.

What a run sees is a pure function of (seed, epoch, step): the order of an epoch, and each sample's
crop, are drawn from generators seeded by where they stand. So the batches are the same whatever
the number of workers, and a resumed run goes on at its step without reading what it has seen.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from core.errors import InputError, RunError
from core.runtime.rng import generator
from pretrain.images import decode, transforms
from pretrain.images.datasets import ImageSet
from pretrain.recipe import Recipe
from pretrain.tricks.repeated_augmentation import repeated

Problems = list[tuple[str, str]]  # unreadable files and the reasons
Sample = tuple[Tensor, int, Problems]
Batch = tuple[Tensor, Tensor, Problems]  # uint8 [n, 3, H, W], labels [n], problems


class TrainingView(Dataset):
    """An image set's samples as a recipe's training sees them, indexed by (epoch, sample, copy).

    In place of a file that cannot be read stands the next one that can, with its own label: which
    one that is follows from the files alone.
    """

    def __init__(self, images: ImageSet, recipe: Recipe, seed: int) -> None:
        self.images, self.recipe, self.seed = images, recipe, seed

    def __getitem__(self, place: tuple[int, int, int]) -> Sample:
        _, index, _ = place
        problems: Problems = []
        for candidate in chain(range(index, len(self.images)), range(index)):
            rng = generator("sample", self.seed, *place)
            try:
                pixels = transforms.for_training(self.images.source(candidate), rng, self.recipe)
            except decode.Unreadable as error:
                problems.append((self.images.path(candidate), str(error)))
            else:
                return pixels, int(self.images.labels[candidate]), problems
        raise InputError(f"{self.images.root}: none of the {len(self.images)} images can be read")


class EvaluationView(Dataset):
    """An image set's samples as an evaluation sees them: shorter side resized, central crop.

    A file that cannot be read has the label -1, which is for the reader of the batch to leave out.
    """

    def __init__(
        self, images: ImageSet, resolution: int, crop_ratio: float, interpolation: str
    ) -> None:
        self.images = images
        self.geometry = (resolution, crop_ratio, interpolation)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        try:
            image = decode.whole(self.images.source(index))
        except decode.Unreadable as error:
            side = self.geometry[0]
            problem = (self.images.path(index), str(error))
            return torch.zeros(3, side, side, dtype=torch.uint8), -1, [problem]
        return transforms.for_evaluation(image, *self.geometry), int(self.images.labels[index]), []


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
        repeats: copies of a sample, for repeated augmentation.
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
        repeats: int = 1,
    ) -> None:
        if micro < 1 or batch_size % (world * micro):
            raise InputError(
                f"a batch of {batch_size} does not divide over {world} processes x {micro} "
                f"micro-batches"
            )
        self.steps = steps_per_epoch(samples, batch_size)
        self.epoch, self.start, self.micro = epoch, start, micro
        order = generator("order", seed, epoch).permutation(samples)
        places = repeated(order, repeats)[: self.steps * batch_size]
        self.batches = places.reshape(self.steps, batch_size, 2)
        self.mine = slice(rank, None, world)

    def __len__(self) -> int:
        return (self.steps - self.start) * self.micro

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        for batch in self.batches[self.start :, self.mine]:
            for part in np.split(batch, self.micro):
                yield [(self.epoch, int(index), int(copy)) for index, copy in part]


def collate(samples: Sequence[Sample]) -> Batch:
    # torch's own collation stacks straight into the memory that a worker shares with its parent
    images = default_collate([image for image, _, _ in samples])
    labels = default_collate([label for _, label, _ in samples])
    return images, labels, [problem for *_, problems in samples for problem in problems]


def training(view: Dataset, batches: EpochBatches, workers: int) -> DataLoader:
    """One epoch's micro-batches.

    Args:
        view: a TrainingView, or another data set of its places.
    """
    return DataLoader(
        view,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=leave_signals_to_parent,
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
        collate_fn=collate,
        worker_init_fn=leave_signals_to_parent,
        pin_memory=torch.cuda.is_available(),
    )


def leave_signals_to_parent(worker: int) -> None:
    """A cluster that wants its node back signals every process; only the training loop answers.

    A worker ends when its parent says so, or is gone. That it is gone already only this worker can
    know: whoever asks later takes the process that has adopted it for its parent.
    """
    if (parent := multiprocessing.parent_process()) and parent.pid != os.getppid():
        os._exit(1)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def kill_workers() -> None:
    """For a process that ends with an error while its workers are at work.

    Python would send them SIGTERM, which they ignore, and then wait for them, for ever.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would take their end for an error
    for child in multiprocessing.active_children():
        if child.daemon:  # as torch's workers are
            child.kill()


def kill_workers_at_exit() -> None:
    """To be called once the workers are at work: what is registered last is called first, before
    torch and Python wait for them.
    """
    atexit.unregister(kill_workers)
    atexit.register(kill_workers)


@contextmanager
def naming_dead_workers(workers: int) -> Iterator[None]:
    """Turns torch's error for a worker that died into ours; it may come at any line of a process.

    Raises:
        RunError: a worker was killed, or died.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        # the latter two come of a worker that dies while it hands a batch over
        told = isinstance(error, RuntimeError)
        if "DataLoader worker" not in str(error) if told else not workers:
            raise
        reason = str(error).splitlines()[0] if told else f"{type(error).__name__}: {error}"
        raise RunError(
            f"a loader process died ({reason}); often memory ran out: try fewer with WORKERS=, now "
            f"{workers}. The same command goes on from the last saved state"
        ) from error


def batches_of(source: DataLoader) -> Iterator[Batch]:
    """The batches of a loader.

    Raises:
        RunError: a worker was killed, or died.
    """
    with naming_dead_workers(source.num_workers):
        iterator = iter(source)
        kill_workers_at_exit()
        try:
            yield from iterator
        finally:
            if source.num_workers:  # now, not when an error's traceback lets go of the iterator
                iterator._shutdown_workers()  # type: ignore[attr-defined]


def unreadable(images: ImageSet, workers: int) -> Problems:
    """Decodes every file of a set; those that cannot be read, with the reasons, sorted."""
    view = EvaluationView(images, 1, 1.0, "bilinear")
    found = [one for *_, problems in batches_of(evaluation(view, 64, workers)) for one in problems]
    return sorted(found)
