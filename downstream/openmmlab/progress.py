"""What a downstream training took, and the line that it prints an epoch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from core.runtime import distributed
from downstream.backbones import checks
from downstream.openmmlab.exact_resume import plain_model

COUNTS = ("sha256_in_model", "samples", "seconds", "epoch_samples", "epoch_seconds", "losses")


class Meter(Hook):
    """Counts training samples and seconds, over resumptions too, and prints a line an epoch.

    Before the first iteration it stops a run whose model does not hold the checkpoint's weights.
    After training it gives all processes the first one's running statistics: each has seen batches
    of its own, and the test is of one model.
    """

    def __init__(self, name: str, exchange: Path) -> None:
        self.name, self.exchange = name, exchange
        self.sha256_in_model = ""
        self.samples, self.seconds = 0, 0.0  # trained
        self.epoch_samples, self.epoch_seconds = 0, 0.0
        self.loss, self.losses = torch.zeros((), dtype=torch.float64), 0  # sum of so many
        self.began = time.perf_counter()  # moved into the past by what earlier processes took

    def wall(self) -> float:
        """Seconds that the run has taken, over all processes that it took one after the other."""
        return time.perf_counter() - self.began

    def state(self) -> dict[str, Any]:
        """What a saved state holds of it."""
        counts = {name: getattr(self, name) for name in COUNTS}
        return counts | {"loss": self.loss.item(), "wall": self.wall()}

    def load(self, state: dict[str, Any]) -> None:
        """Takes up what an earlier process has counted."""
        for name in COUNTS:
            setattr(self, name, state[name])
        self.loss = torch.tensor(state["loss"], dtype=torch.float64)
        self.began -= state["wall"]

    def before_train(self, runner: Runner) -> None:
        if runner.iter > 0:
            return
        model = plain_model(runner)
        count, unused = checks.account(model, self.exchange)
        self.sha256_in_model = checks.sha256_in(model)
        difference = checks.agreement(model, self.exchange)
        if distributed.rank() == 0:
            print(
                f"{count} tensors of {self.exchange} in place, {len(unused)} unused; its features "
                f"differ by at most {difference:.2g}",
                flush=True,
            )

    def after_train(self, runner: Runner) -> None:
        distributed.copy_from_first(runner.model.buffers())

    def before_train_epoch(self, runner: Runner) -> None:
        self.last = time.perf_counter()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        assert data_batch is not None
        assert outputs is not None
        now = time.perf_counter()
        self._count(len(data_batch["inputs"]) * distributed.world(), now - self.last)
        self.last = now
        self.loss = self.loss.to(outputs["loss"].device) + outputs["loss"].detach()
        self.losses += 1

    def _count(self, samples: int, seconds: float) -> None:
        self.samples += samples
        self.epoch_samples += samples
        self.seconds += seconds
        self.epoch_seconds += seconds

    def after_train_epoch(self, runner: Runner) -> None:
        loss = self.loss.item() / self.losses  # also waits for the device
        self._count(0, time.perf_counter() - self.last)
        if distributed.rank() == 0:
            print(
                f"{self.name}: epoch {runner.epoch + 1} of {runner.max_epochs}, loss {loss:.3f}, "
                f"{self.epoch_samples / self.epoch_seconds:.1f} images/s",
                flush=True,
            )
        self.epoch_samples, self.epoch_seconds = 0, 0.0
        self.loss, self.losses = torch.zeros_like(self.loss), 0
