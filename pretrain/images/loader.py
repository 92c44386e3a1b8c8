"""From an image set to batches on the host.

Batches are a pure function of (seed, epoch, step): the order of an epoch and each sample's crop
come from generators seeded by their position. So the number of workers changes nothing, and a
resumed run continues at its step without reading earlier batches.
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

Problems = list[tuple[str, str]]  # unreadable files, each with the reason
Sample = tuple[Tensor, int, Problems]  # uint8 [3, H, W], label, problems
Batch = tuple[Tensor, Tensor, Problems]  # uint8 [n, 3, H, W], labels [n], problems
Key = tuple[int, int, int]  # (epoch, sample, copy): with the seed, decides a sample's augmentation


class TrainingView(Dataset):
    """A training set under a recipe's crops, flips and RandAugment, indexed by Key.

    An unreadable file is replaced by the next readable one, with that one's label.
    """

    def __init__(self, images: ImageSet, recipe: Recipe, seed: int) -> None:
        self.images, self.recipe, self.seed = images, recipe, seed

    def __getitem__(self, key: Key) -> Sample:
        _, index, _ = key
        problems: Problems = []
        for candidate in chain(range(index, len(self.images)), range(index)):
            rng = generator("sample", self.seed, *key)
            try:
                pixels = transforms.for_training(self.images.source(candidate), rng, self.recipe)
            except decode.Unreadable as error:
                problems.append((self.images.path(candidate), str(error)))
            else:
                return pixels, int(self.images.labels[candidate]), problems
        raise InputError(f"{self.images.root}: none of the {len(self.images)} images can be read")


class EvaluationView(Dataset):
    """An image set for evaluation: shorter side resized, then a central crop.

    An unreadable file gets the label -1; callers must leave it out.
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
            image = decode.full_image(self.images.source(index))
        except decode.Unreadable as error:
            side = self.geometry[0]
            problem = (self.images.path(index), str(error))
            return torch.zeros(3, side, side, dtype=torch.uint8), -1, [problem]
        return transforms.for_evaluation(image, *self.geometry), int(self.images.labels[index]), []


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """The number of full batches in an epoch; the samples left over differ between epochs.

    Raises:
        InputError: there is less than one full batch.
    """
    if not 0 < batch_size <= samples:
        raise InputError(f"{samples} training samples do not fill one batch of {batch_size}")
    return samples // batch_size


class EpochBatches:
    """A batch sampler: one epoch's micro-batches for one process.

    Args:
        samples: size of the training set.
        batch_size: over all processes and micro-batches.
        start: the first step.
        rank, world: this process, and the number of processes.
        micro: micro-batches per step and process.
        repeats: copies of each sample, for repeated augmentation.
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
                f"micro-batches: change batch_size or accumulation"
            )
        self.steps = steps_per_epoch(samples, batch_size)
        self.epoch, self.start, self.micro = epoch, start, micro
        order = generator("order", seed, epoch).permutation(samples)
        copies = repeated(order, repeats)[: self.steps * batch_size]
        self.batches = copies.reshape(self.steps, batch_size, 2)
        self.mine = slice(rank, None, world)

    def __len__(self) -> int:
        return (self.steps - self.start) * self.micro

    def __iter__(self) -> Iterator[list[Key]]:
        for batch in self.batches[self.start :, self.mine]:
            for part in np.split(batch, self.micro):
                yield [(self.epoch, int(index), int(copy)) for index, copy in part]


def collate(samples: Sequence[Sample]) -> Batch:
    # default_collate stacks directly into the memory that a worker shares with its parent
    images = default_collate([image for image, _, _ in samples])
    labels = default_collate([label for _, label, _ in samples])
    return images, labels, [problem for *_, problems in samples for problem in problems]


def training(view: Dataset, batches: EpochBatches, workers: int) -> DataLoader:
    """One epoch's micro-batches.

    Args:
        view: a TrainingView, or another Dataset indexed by Key.
    """
    return DataLoader(
        view,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=ignore_stop_signals,
        pin_memory=torch.cuda.is_available(),
    )


def evaluation(
    view: EvaluationView, batch_size: int, workers: int, rank: int = 0, world: int = 1
) -> DataLoader:
    """Every `world`-th sample, starting at `rank`: all processes together see each sample once."""
    return DataLoader(
        view,
        batch_size=batch_size,
        sampler=range(rank, len(view), world),
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=ignore_stop_signals,
        pin_memory=torch.cuda.is_available(),
    )


def ignore_stop_signals(worker: int) -> None:
    """Initialises a loader process: a cluster signals every process, and only the main one reacts.

    It exits at once if its parent has died: torch's later check would mistake the process that has
    adopted it for its parent, and the worker would wait for ever.
    """
    if (parent := multiprocessing.parent_process()) and parent.pid != os.getppid():
        os._exit(1)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def kill_workers() -> None:
    """Kills the loader processes of a process that ends with an error.

    Python would send them SIGTERM, which they ignore, and then wait for them for ever.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would report their end
    for child in multiprocessing.active_children():
        if child.daemon:  # torch's workers are daemons
            child.kill()


def kill_workers_at_exit() -> None:
    """Call it after the workers have started: exit handlers run in reverse order of registration,
    and this one must run before those of torch and Python, which wait for the workers.
    """
    atexit.unregister(kill_workers)
    atexit.register(kill_workers)


@contextmanager
def report_dead_workers(workers: int) -> Iterator[None]:
    """Turns torch's errors about a dead worker, which can be raised anywhere, into a RunError.

    Raises:
        RunError: a worker was killed or died.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        # torch's own RuntimeError; the other two if a worker dies while it sends a batch
        from_torch = isinstance(error, RuntimeError)
        if "DataLoader worker" not in str(error) if from_torch else not workers:
            raise
        reason = str(error).splitlines()[0] if from_torch else f"{type(error).__name__}: {error}"
        raise RunError(
            f"a loader process died ({reason}), often for lack of memory: try fewer with WORKERS=, "
            f"now {workers}. Run the same command again to resume from the last saved state"
        ) from error


def batches_of(source: DataLoader) -> Iterator[Batch]:
    """The batches of a loader.

    Raises:
        RunError: a worker was killed or died.
    """
    with report_dead_workers(source.num_workers):
        iterator = iter(source)
        kill_workers_at_exit()
        try:
            yield from iterator
        finally:
            if source.num_workers:  # now: after an error the traceback keeps the iterator alive
                iterator._shutdown_workers()  # type: ignore[attr-defined]


def find_unreadable(images: ImageSet, workers: int) -> Problems:
    """Decodes every file of a set and returns the unreadable ones, sorted."""
    view = EvaluationView(images, 1, 1.0, "bilinear")
    found = [one for *_, problems in batches_of(evaluation(view, 64, workers)) for one in problems]
    return sorted(found)
