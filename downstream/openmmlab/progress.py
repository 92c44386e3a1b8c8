"""Counts the samples and seconds of a downstream training, and prints a line per epoch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from core.runtime import distributed
from downstream.backbones import checks
from downstream.openmmlab.exact_resume import unwrapped_model

COUNTS = ("sha256_in_model", "samples", "seconds", "epoch_samples", "epoch_seconds", "losses")


class ProgressHook(Hook):
    """Counts training samples and seconds across resumes, and prints a line per epoch.

    Before the first iteration it stops a run whose model does not hold the checkpoint's weights.
    After training it copies the first process's batch-norm statistics to the others: each process
    saw other batches, but one model is tested.
    """

    def __init__(self, name: str, exchange: Path) -> None:
        self.name, self.exchange = name, exchange
        self.sha256_in_model = ""
        self.samples, self.seconds = 0, 0.0  # of the whole training
        self.epoch_samples, self.epoch_seconds = 0, 0.0
        self.loss, self.losses = torch.zeros((), dtype=torch.float64), 0  # their sum, their count
        self.began = time.perf_counter()  # minus the time before the run was resumed

    def wall(self) -> float:
        """Seconds the run has taken, including the time before it was resumed."""
        return time.perf_counter() - self.began

    def state_dict(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in COUNTS}
        return counts | {"loss": self.loss.item(), "wall": self.wall()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in COUNTS:
            setattr(self, name, state[name])
        self.loss = torch.tensor(state["loss"], dtype=torch.float64)
        self.began -= state["wall"]

    def before_train(self, runner: Runner) -> None:
        if runner.iter > 0:
            return
        model = unwrapped_model(runner)
        count, unused = checks.check_weights(model, self.exchange)
        self.sha256_in_model = checks.sha256_in(model)
        difference = checks.feature_difference(model, self.exchange)
        if distributed.rank() == 0:
            print(
                f"{count} tensors of {self.exchange} loaded, {len(unused)} unused; largest "
                f"difference of the features {difference:.2g}",
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
        loss = self.loss.item() / self.losses  # item() also waits for the device
        self._count(0, time.perf_counter() - self.last)
        if distributed.rank() == 0:
            print(
                f"{self.name}: epoch {runner.epoch + 1} of {runner.max_epochs}, loss {loss:.3f}, "
                f"{self.epoch_samples / self.epoch_seconds:.1f} images/s",
                flush=True,
            )
        self.epoch_samples, self.epoch_seconds = 0, 0.0
        self.loss, self.losses = torch.zeros_like(self.loss), 0
