"""What lets mmengine's Runner go on from any iteration as if it had never been stopped.

As in pretraining, whatever is random follows from the seed and the place where it is drawn
(`pretrain.streams`): the order of an epoch from the epoch, the augmentation of a sample from the
epoch and its index, what layers and samplers of regions draw from the iteration and the process. So
the iteration with its weights, optimiser and schedules is all that a state has to hold, and no
batch is read twice. mmengine's own resumption keeps no random state and starts at an epoch.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sized
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS, DATASETS, FUNCTIONS, LOOPS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import BatchSampler, Dataset, Sampler

from core.errors import Diverged, InputError
from core.runtime import distributed, resume_state, rng
from core.runtime.signals import StopRequest
from core.runtime.step_monitor import StepMonitor
from pretrain.images import loader

ADVICE = "lower optim_wrapper.optimizer.lr"  # to whoever has a training that diverges
SAVE_EVERY = 1000  # iterations between states; there is one at the end of each epoch besides

FUNCTIONS.register_module(module=loader.ignore_stop_signals)


def seed_everything(seed: int) -> None:
    """Seeds the generators that transforms and models of OpenMMLab draw from.

    Args:
        seed: below 2^63.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - it is what their transforms use
    torch.manual_seed(seed)


@DATASETS.register_module()
class Placed(Dataset):
    """A data set whose augmentation of a sample follows from the seed, the epoch and its index.

    It is indexed with places: epoch x samples + index. So the number of workers changes nothing.

    Args:
        dataset: config of the set.
    """

    def __init__(self, dataset: dict, seed: int) -> None:
        self.inner = DATASETS.build(dataset)
        self.seed = seed

    @property
    def metainfo(self) -> dict:
        return self.inner.metainfo

    def __len__(self) -> int:
        return len(self.inner)

    def get_data_info(self, place: int) -> dict:
        return self.inner.get_data_info(place % len(self))

    def __getitem__(self, place: int) -> dict:
        epoch, index = divmod(place, len(self))
        seed_everything(rng.torch_seed("sample", self.seed, epoch, index))
        return self.inner[index]


@DATA_SAMPLERS.register_module()
class PlacedSampler(Sampler):
    """The places of one process in an epoch: a permutation that follows from seed and epoch.

    Where the processes do not divide the set, its first samples in this order come twice.
    """

    def __init__(self, dataset: Sized, seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        self.rank, self.world = distributed.rank(), distributed.world()
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(len(self.dataset) / self.world)

    def __iter__(self) -> Iterator[int]:
        samples = len(self.dataset)
        order = rng.generator("order", self.seed, self.epoch).permutation(samples)
        padded = np.resize(order, len(self) * self.world)
        yield from (self.epoch * samples + padded[self.rank :: self.world]).tolist()


@DATA_SAMPLERS.register_module()
class PlacedBatches(BatchSampler):
    """The batches of an epoch from a given one on; those before are counted and not read.

    Args:
        by: a batch sampler of OpenMMLab's that groups the samples, in place of torch's.
    """

    def __init__(
        self,
        sampler: PlacedSampler,
        batch_size: int,
        drop_last: bool = False,
        by: str | None = None,
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.places = sampler
        self.by = by
        self.start = 0

    def go_to(self, epoch: int, start: int) -> None:
        """Makes the next iteration begin at a batch of an epoch."""
        self.places.epoch, self.start = epoch, start

    def __iter__(self) -> Iterator[list[int]]:
        batches = super().__iter__()
        if self.by is not None:
            kind = dict(type=self.by, sampler=self.places, batch_size=self.batch_size)
            batches = iter(DATA_SAMPLERS.build(kind | dict(drop_last=self.drop_last)))
        return islice(batches, self.start, None)


@LOOPS.register_module()
class ResumableLoop(EpochBasedTrainLoop):
    """mmengine's loop over epochs, which can begin within one.

    After each iteration and each epoch, once they are counted, it calls hooks of its own:
    `between_iterations` and `between_epochs`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if len(self.dataloader) == 0:
            raise InputError(
                f"{len(self.dataloader.dataset)} training pictures do not fill one batch of "
                f"{self.dataloader.batch_sampler.batch_size} on each of {distributed.world()} "
                f"devices: lower train_dataloader.batch_size"
            )

    def run_epoch(self) -> None:
        start = self._iter - self._epoch * len(self.dataloader)
        self.dataloader.batch_sampler.go_to(self._epoch, start)
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for index, batch in enumerate(loader.batches_of(self.dataloader), start):
            self.run_iter(index, batch)
            self.runner.call_hook("between_iterations")
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1
        self.runner.call_hook("between_epochs")


def plain_model(runner: Runner) -> nn.Module:
    """A Runner's model without what distributes it."""
    return runner.model.module if hasattr(runner.model, "module") else runner.model


class Keeper(Hook):
    """Saves states, goes on from the newest, and stops when asked or when the loss is not finite.

    Args:
        out: the run's folder, where the states lie.
        account: what else a state holds: its `state()` gives plain values, its `load()` takes them.
    """

    priority = "HIGHEST"  # before mmengine notes the iteration that a run begins at

    def __init__(
        self, out: Path, seed: int, request: StopRequest, device: torch.device, account: Any
    ) -> None:
        self.out, self.seed, self.request, self.device = out, seed, request, device
        self.account = account
        self.monitor = StepMonitor(device)

    @property
    def name(self) -> str:
        """As lines of the log call the run: "detect/best"."""
        return "/".join(self.out.parts[-3:-1])

    def before_train(self, runner: Runner) -> None:
        """Goes on from the newest state, if there is one.

        Raises:
            InputError: every state is damaged.
            RunError: the processes do not see the same one.
        """
        state = resume_state.load_common_state(self.out, self.device, "iter")
        if state is None:
            return
        plain_model(runner).load_state_dict(state["state_dict"])
        runner.optim_wrapper.load_state_dict(state["optimizer"])
        for scheduler, values in zip(
            runner.param_schedulers, state["param_schedulers"], strict=True
        ):
            scheduler.load_state_dict(values)
        loop = runner.train_loop
        loop._iter, loop._epoch = state["iter"], state["epoch"]
        runner.optim_wrapper.initialize_count_status(runner.model, loop.iter, loop.max_iters)
        self.account.load(state["account"])

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        seed_everything(
            rng.torch_seed("layers", self.seed, runner.iter, distributed.rank()),
        )

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        assert outputs is not None
        self.loss = outputs["loss"].detach()

    def between_iterations(self, runner: Runner) -> None:
        """Looks at the iteration that is over; on a GPU its loss is looked at after the next one.

        Raises:
            Diverged: the loss is not finite.
            Interrupted: SIGTERM or SIGUSR1 came; the state is saved.
        """
        status = self.monitor.check(self.loss, bool(self.request))
        if not status.finite:
            raise Diverged(
                f"the loss is not finite at iteration {runner.iter} of {runner.max_iters}: "
                f"{ADVICE}; the newest saved state is from before"
            )
        if runner.iter % len(runner.train_dataloader) == 0:
            return  # the end of the epoch saves, with its schedules a step on
        if status.stop_requested or runner.iter % SAVE_EVERY == 0:
            self.save(runner)
        if status.stop_requested:
            self.request.end_run(self.name, f"iteration {runner.iter} of {runner.max_iters}")

    def between_epochs(self, runner: Runner) -> None:
        self.save(runner)
        if any(distributed.from_all(bool(self.request))):
            self.request.end_run(self.name, f"epoch {runner.epoch} of {runner.max_epochs}")

    def before_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        if batch_idx == 0:
            loader.kill_workers_at_exit()

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Any = None,
    ) -> None:
        # the processes' shares of a test are equally long: torch's sampler fills them up
        if any(distributed.from_all(bool(self.request))):
            self.request.end_run(self.name, "the training, in the test")

    def save(self, runner: Runner) -> None:
        """Called by all processes at the same iteration; the first one writes.

        `state_dict` is where mmengine's `load_checkpoint` looks for a model's weights.

        Raises:
            Diverged: in all of them, if a weight is not finite.
        """
        state = {
            "iter": runner.iter,
            "epoch": runner.epoch,
            "state_dict": plain_model(runner).state_dict(),
            "optimizer": runner.optim_wrapper.state_dict(),
            "param_schedulers": [scheduler.state_dict() for scheduler in runner.param_schedulers],
            "account": self.account.state(),
        }
        resume_state.save_state(self.out, runner.iter, state, ADVICE)
