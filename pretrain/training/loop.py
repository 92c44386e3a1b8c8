"""The training loop: from the saved step to the last, with an evaluation at each epoch's end.

A run can be killed at any moment and resumed: all randomness follows from the seed and the step
(`core.runtime.rng`), so a state holds the step, the weights and the optimiser.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.tensorboard import SummaryWriter

from core.errors import Diverged, RunError
from core.files import write_atomically
from core.metrics import classification, logit_gap
from core.metrics.statistic import values
from core.record import Cost
from core.runtime import distributed, signals
from core.runtime.signals import StopRequest
from core.runtime.step_monitor import StepMonitor
from core.runtime.tracking import Tracker
from pretrain.images import loader
from pretrain.recipe import as_dict
from pretrain.training import lr_schedule
from pretrain.training.evaluate import in_order, verdicts
from pretrain.training.trainer import Job, Trainer, precision

__all__ = ["Job", "Outcome", "fit"]

PROGRESS = 200  # steps between lines within an epoch
HISTORY = "history.json"


@dataclass(frozen=True)
class Outcome:
    """What a finished run ended with, at the last epoch, never the best.

    Attributes:
        top1, top5: in percent.
        right: the same by sample, bool [S, 2] in the order of the split.
        counted: the places [S] of these samples in the split.
    """

    tensors: dict[str, Tensor]
    top1: float
    top5: float
    right: np.ndarray
    counted: np.ndarray
    cost: Cost


def fit(job: Job) -> Outcome:
    """Trains to the recipe's last step, resuming from the newest saved state if there is one.

    Raises:
        InputError: data, teacher or weights do not fit the recipe.
        Diverged: the loss is not finite.
        Interrupted: SIGTERM or SIGUSR1 came; the state is saved.
        RunError: a loader process died, or what would be saved is not finite.
    """
    with signals.catch_stop_signals() as request, loader.report_dead_workers(job.workers):
        trainer = Trainer(job)
        view = trainer.training_view()
        writer = None
        if distributed.rank() == 0:
            # what a killed run has logged since its last state is logged once more
            writer = SummaryWriter(str(job.out / "tensorboard"), purge_step=trainer.step + 1)
        with closing(Tracker(job.track, job.out, as_dict(job.recipe))) as tracker:
            while trainer.step < trainer.total or trainer.evaluation_is_due:
                if trainer.evaluation_is_due:
                    gaps = evaluate(trainer, request)
                    report(trainer, gaps, writer, tracker)
                    trainer.save()
                else:
                    train_epoch(trainer, view, request)
        if writer is not None:
            writer.close()
    seen = trainer.total * job.recipe.batch_size
    last = trainer.history[-1]
    return Outcome(
        {name: tensor.detach().cpu() for name, tensor in trainer.result.state_dict().items()},
        top1=last["top1"],
        top5=last["top5"],
        right=trainer.right.cpu().numpy(),
        counted=trainer.counted.cpu().numpy(),
        cost=distributed.cost(
            job.device, trainer.wall(), seen / trainer.seconds, precision(job.recipe, job.device)
        ),
    )


def train_epoch(trainer: Trainer, view: Dataset, request: StopRequest) -> None:
    """Trains to the end of the epoch, saving on the way."""
    job, recipe = trainer.job, trainer.job.recipe
    epoch, start = divmod(trainer.step, trainer.per_epoch)
    end = min(trainer.step - start + trainer.per_epoch, trainer.total)
    batches = loader.EpochBatches(
        len(job.train),
        recipe.batch_size,
        seed=job.seed,
        epoch=epoch,
        start=start,
        rank=distributed.rank(),
        world=distributed.world(),
        micro=recipe.accumulation,
        repeats=recipe.repeats,
    )
    source = loader.batches_of(loader.training(view, batches, job.workers))
    monitor = StepMonitor(job.device)
    trainer.model.train(not job.frozen)
    while trainer.step < end:
        began = time.perf_counter()
        loss = trainer.train_step([next(source) for _ in range(recipe.accumulation)])
        status = monitor.check(loss, bool(request), trainer.scaler)
        trainer.count(loss, time.perf_counter() - began)
        trainer.skipped += status.skipped
        if not status.finite:
            raise diverged(trainer)
        if status.stop_requested:
            stop(trainer, request)
        if trainer.step % job.save_every == 0 and trainer.step < end:
            trainer.save()
        if trainer.step % PROGRESS == 0 and trainer.step < end:
            progress(trainer)
    # the last step's status may not be in yet; all processes go on, or none does
    if not all(distributed.from_all(math.isfinite(trainer.mean_loss()))):
        raise diverged(trainer)


def diverged(trainer: Trainer) -> Diverged:
    return Diverged(
        f"the loss is not finite at step {trainer.step} of {trainer.total}: lower lr (now "
        f"{trainer.job.recipe.lr}); the newest saved state is from before"
    )


def stop(trainer: Trainer, request: StopRequest) -> None:
    """Saves, and ends the run.

    Raises:
        Interrupted: always.
    """
    trainer.save()
    request.end_run(trainer.job.name, f"step {trainer.step} of {trainer.total}")


def progress(trainer: Trainer) -> None:
    if distributed.rank() == 0:
        print(
            f"{trainer.job.name}: step {trainer.step} of {trainer.total}, "
            f"loss {trainer.mean_loss():.3f}, {trainer.speed():.0f} images/s",
            flush=True,
        )


def evaluate(trainer: Trainer, request: StopRequest) -> np.ndarray:
    """Adds top-1, top-5 in percent and the number of samples of the test split to the history.

    Returns:
        float32 [S], the gaps between the logits of these samples.
    """
    job, recipe = trainer.job, trainer.job.recipe
    # each process has seen batches of its own; what is saved has the first one's running statistics
    distributed.copy_from_first(trainer.result.buffers())
    workers = 0 if trainer.resident else job.workers  # what is kept needs no decoding
    batches = loader.evaluation(
        trainer.test_view, 256, workers, rank=distributed.rank(), world=distributed.world()
    )
    mine = verdicts(
        trainer.result,
        noting(trainer, loader.batches_of(batches), request),
        job.device,
        recipe.mean,
        recipe.std,
    )
    if any(distributed.from_all(bool(request))):
        stop(trainer, request)
    right, gaps, counted = in_order(distributed.from_all(mine))
    if not len(right):
        raise RunError(f"none of the {len(job.test)} images of {job.test.split} can be read")
    trainer.right, trainer.counted = torch.from_numpy(right), torch.from_numpy(counted)
    trainer.history.append(
        {
            "step": trainer.step,
            "epoch": trainer.step / trainer.per_epoch,
            "loss": trainer.mean_loss(),
            "lr": lr_schedule.learning_rate(recipe, trainer.step - 1, trainer.per_epoch),
            "learning_rates": lr_schedule.of_epoch(recipe, trainer.step, trainer.per_epoch),
            "images_per_s": trainer.speed(),
            **values(classification.results(right)),
            "samples": len(right),
        }
    )
    trainer.begin_epoch()
    return gaps


def noting(
    trainer: Trainer, batches: Iterable[loader.Batch], request: StopRequest
) -> Iterator[loader.Batch]:
    """The batches up to a request to stop; what could not be read goes onto the trainer's list."""
    for batch in batches:
        if request:
            return
        trainer.unreadable.update(batch[2])
        yield batch


def report(
    trainer: Trainer, gaps: np.ndarray, writer: SummaryWriter | None, tracker: Tracker
) -> None:
    """A line, TensorBoard scalars, history.json and gaps.npz at an epoch's end, by one process."""
    if writer is None:
        return
    job, now = trainer.job, trainer.history[-1]
    skipped = f", {trainer.skipped} steps skipped by the loss scaler" if trainer.skipped else ""
    lost = f", {len(trainer.unreadable)} unreadable files" if trainer.unreadable else ""
    print(
        f"{job.name}: "
        f"epoch {now['epoch']:.3g} of {job.recipe.epochs:.3g}, step {trainer.step} of "
        f"{trainer.total}: loss {now['loss']:.3f}, lr {now['lr']:.4g}, "
        f"{now['images_per_s']:.0f} images/s, {job.test.split} top-1 {now['top1']:.2f} % "
        f"top-5 {now['top5']:.2f} % of {now['samples']}{skipped}{lost}",
        flush=True,
    )
    curves = (
        *(("train", "loss"), ("train", "lr"), ("train", "images_per_s")),
        *(("eval", "top1"), ("eval", "top5")),
    )
    scalars = {f"{part}/{key}": now[key] for part, key in curves}
    for name, value in scalars.items():
        writer.add_scalar(name, value, trainer.step)
    tracker.add(scalars, trainer.step)
    entries = ",\n".join(json.dumps(entry) for entry in trainer.history)
    write_atomically(job.out / HISTORY, f"[\n{entries}\n]\n".encode())
    logit_gap.save(job.out, gaps)


def written(out: Path) -> list[Path]:
    """What `report` has left in a run's folder for its record; less, if an older version did."""
    return [path for path in (out / HISTORY, out / logit_gap.GAPS) if path.is_file()]
