"""Exact resume for mmengine's Runner: an interrupted run ends with the same bytes.

As in pretraining, all randomness is derived from the seed (`core.runtime.rng`): the sample order
from the epoch, the augmentation from the epoch and the sample's index, and what layers and region
samplers draw from the iteration and the process. A saved state therefore needs only the iteration,
weights, optimiser and schedules, and no batch is read twice. mmengine's own resume saves no random
state and restarts at an epoch.
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

ADVICE = "lower optim_wrapper.optimizer.lr"  # when the training diverges
SAVE_EVERY = 1000  # iterations between states; the end of each epoch saves one too

FUNCTIONS.register_module(module=loader.ignore_stop_signals)


def seed_everything(seed: int) -> None:
    """Seeds the generators that OpenMMLab's transforms and models use.

    Args:
        seed: below 2^63.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - it is what their transforms use
    torch.manual_seed(seed)


@DATASETS.register_module()
class SeededDataset(Dataset):
    """A dataset that seeds the augmentation of each sample from the seed, the epoch and its index.

    Its indices hold the epoch too: epoch * samples + index. The number of workers changes nothing.

    Args:
        dataset: config of the wrapped dataset.
    """

    def __init__(self, dataset: dict, seed: int) -> None:
        self.inner = DATASETS.build(dataset)
        self.seed = seed

    @property
    def metainfo(self) -> dict:
        return self.inner.metainfo

    def __len__(self) -> int:
        return len(self.inner)

    def get_data_info(self, epoch_index: int) -> dict:
        return self.inner.get_data_info(epoch_index % len(self))

    def __getitem__(self, epoch_index: int) -> dict:
        epoch, index = divmod(epoch_index, len(self))
        seed_everything(rng.torch_seed("sample", self.seed, epoch, index))
        return self.inner[index]


@DATA_SAMPLERS.register_module()
class SeededSampler(Sampler):
    """One process's indices into a `SeededDataset` for an epoch, shuffled from seed and epoch.

    If the samples do not divide evenly among the processes, the first ones are repeated.
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
class ResumableBatches(BatchSampler):
    """The batches of an epoch, from a given batch on; skipped batches are never read.

    Args:
        by: name of an OpenMMLab batch sampler to use instead of torch's.
    """

    def __init__(
        self,
        sampler: SeededSampler,
        batch_size: int,
        drop_last: bool = False,
        by: str | None = None,
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.seeded_sampler = sampler
        self.by = by
        self.start = 0

    def go_to(self, epoch: int, start: int) -> None:
        """Sets the epoch, and the batch that the next iteration starts at."""
        self.seeded_sampler.epoch, self.start = epoch, start

    def __iter__(self) -> Iterator[list[int]]:
        batches = super().__iter__()
        if self.by is not None:
            batches = iter(
                DATA_SAMPLERS.build(
                    dict(
                        type=self.by,
                        sampler=self.seeded_sampler,
                        batch_size=self.batch_size,
                        drop_last=self.drop_last,
                    )
                )
            )
        return islice(batches, self.start, None)


@LOOPS.register_module()
class ResumableLoop(EpochBasedTrainLoop):
    """mmengine's loop over epochs, able to start in the middle of one.

    It adds two hook points: `between_iterations` and `between_epochs`, called after the iteration
    or epoch counter has advanced.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if len(self.dataloader) == 0:
            raise InputError(
                f"{len(self.dataloader.dataset)} training images do not fill one batch of "
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


def unwrapped_model(runner: Runner) -> nn.Module:
    """A Runner's model without its DistributedDataParallel wrapper."""
    return runner.model.module if hasattr(runner.model, "module") else runner.model


class ExactResumeHook(Hook):
    """Saves states, resumes from the newest, and stops on request or on a loss that is not finite.

    Args:
        out: the run directory, which holds the states.
        progress: saved with each state, by its `state_dict()` and `load_state_dict()`.
    """

    priority = "HIGHEST"  # resume before mmengine notes the first iteration

    def __init__(
        self, out: Path, seed: int, request: StopRequest, device: torch.device, progress: Any
    ) -> None:
        self.out, self.seed, self.request, self.device = out, seed, request, device
        self.progress = progress
        self.monitor = StepMonitor(device)

    @property
    def name(self) -> str:
        """The run's name in log lines: "detect/best"."""
        return "/".join(self.out.parts[-3:-1])

    def before_train(self, runner: Runner) -> None:
        """Resumes from the newest state, if there is one.

        Raises:
            InputError: every state is damaged.
            RunError: the processes found different states.
        """
        state = resume_state.load_common_state(self.out, self.device, "iter")
        if state is None:
            return
        unwrapped_model(runner).load_state_dict(state["state_dict"])
        runner.optim_wrapper.load_state_dict(state["optimizer"])
        for scheduler, values in zip(
            runner.param_schedulers, state["param_schedulers"], strict=True
        ):
            scheduler.load_state_dict(values)
        loop = runner.train_loop
        loop._iter, loop._epoch = state["iter"], state["epoch"]
        runner.optim_wrapper.initialize_count_status(runner.model, loop.iter, loop.max_iters)
        self.progress.load_state_dict(state["progress"])

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        seed_everything(rng.torch_seed("layers", self.seed, runner.iter, distributed.rank()))

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
        """Checks the last loss (on a GPU, the one before it), saves a state, stops on request.

        Raises:
            Diverged: the loss is not finite.
            Interrupted: SIGTERM or SIGUSR1 arrived; the state is saved.
        """
        status = self.monitor.check(self.loss, bool(self.request))
        if not status.finite:
            raise Diverged(
                f"the loss is not finite at iteration {runner.iter} of {runner.max_iters}: "
                f"{ADVICE}; the newest saved state is from before"
            )
        if runner.iter % len(runner.train_dataloader) == 0:
            return  # between_epochs saves, after the schedules have advanced
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
        # every process tests equally many samples (torch's sampler pads), so none waits forever
        if any(distributed.from_all(bool(self.request))):
            self.request.end_run(self.name, "the training, in the test")

    def save(self, runner: Runner) -> None:
        """Saves a state: every process calls it at the same iteration, the first one writes.

        mmengine's `load_checkpoint` reads the weights from the key `state_dict`.

        Raises:
            Diverged: a weight is not finite; raised in every process.
        """
        state = {
            "iter": runner.iter,
            "epoch": runner.epoch,
            "state_dict": unwrapped_model(runner).state_dict(),
            "optimizer": runner.optim_wrapper.state_dict(),
            "param_schedulers": [scheduler.state_dict() for scheduler in runner.param_schedulers],
            "progress": self.progress.state_dict(),
        }
        resume_state.save_state(self.out, runner.iter, state, ADVICE)
