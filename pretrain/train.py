"""The training loop: DistributedDataParallel, fp16, accumulation, evaluation each epoch, resume."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.tensorboard import SummaryWriter

from pretrain import augment, checkpoint, distributed, loader, mixup, models
from pretrain.data import ImageSet
from pretrain.distillation import distillation
from pretrain.errors import InputError
from pretrain.evaluate import accuracy
from pretrain.label_smoothing import label_smoothing
from pretrain.linear_scaling import linear_scaling
from pretrain.lr_decay import cosine_decay, step_decay
from pretrain.lr_warmup import lr_warmup
from pretrain.no_bias_decay import no_bias_decay
from pretrain.recipe import Recipe
from results.record import Cost

PROGRESS = 200  # steps between lines within an epoch


@dataclass(frozen=True)
class Job:
    """One run of the loop: what is trained on what, where, from which weights.

    Attributes:
        initial: tensors to start from in place of random ones; strict but for the classifier.
        teacher: exchange file of the teacher, for recipes that distil.
        out: the run's folder; holds the resume state and the TensorBoard scalars.
    """

    recipe: Recipe
    train: ImageSet
    test: ImageSet
    out: Path
    seed: int
    device: torch.device
    workers: int = 0
    initial: Mapping[str, Tensor] | None = None
    teacher: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What a finished run ended with: accuracies in percent at the last epoch, never the best."""

    tensors: dict[str, Tensor]
    top1: float
    top5: float
    samples: int
    cost: Cost


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step, counted from 0 over the whole training."""
    peak = recipe.lr
    if recipe.linear_scaling:
        peak = linear_scaling(peak, recipe.batch_size, recipe.base_batch_size)
    total = total_steps(recipe, steps_per_epoch)
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return peak * lr_warmup(step, warmup)
    if recipe.lr_decay == "cosine":
        return peak * cosine_decay(step - warmup, max(1, total - warmup))
    return peak * step_decay(step / total)


def total_steps(recipe: Recipe, steps_per_epoch: int) -> int:
    return max(1, round(recipe.epochs * steps_per_epoch))


def optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """Nesterov SGD over all parameters, with weight decay where the recipe wants it."""
    groups: Any = [p for p in model.parameters() if p.requires_grad]
    if recipe.no_bias_decay:
        groups = no_bias_decay(model, recipe.weight_decay)
    return torch.optim.SGD(
        groups, lr=0.0, momentum=recipe.momentum, nesterov=True, weight_decay=recipe.weight_decay
    )


def build(job: Job) -> models.TimmModel:
    """The model at step 0: initialised as the paper does, or with the weights it starts from.

    Raises:
        InputError: a tensor of `job.initial` has no place in the model, or the other way round.
    """
    torch.manual_seed(job.seed)
    model = models.create(job.recipe.arch, len(job.train.classes))
    models.initialise(model, zero_gamma=job.recipe.zero_gamma)
    if job.initial is not None:
        classifier = models.classifier(model)
        kept = {k: v for k, v in job.initial.items() if not k.startswith(f"{classifier}.")}
        fresh = {k: v for k, v in model.state_dict().items() if k.startswith(f"{classifier}.")}
        models.load_strictly(model, kept | fresh)
    return model.to(job.device, memory_format=torch.channels_last)


def load_teacher(job: Job) -> models.TimmModel | None:
    """The frozen teacher, in evaluation mode; None for recipes that do not distil.

    Raises:
        InputError: the teacher was trained on other classes, or with another normalisation.
    """
    if job.recipe.distill is None:
        return None
    if job.teacher is None:
        raise InputError(
            f"the recipe distils from {job.recipe.distill!r}, whose checkpoint was not given"
        )
    tensors, about = checkpoint.load_exchange(job.teacher)
    for what, theirs, ours in (
        ("classes", about.classes, len(job.train.classes)),
        ("data set", about.dataset, job.train.name),
        ("mean", about.mean, job.recipe.mean),
        ("std", about.std, job.recipe.std),
    ):
        if theirs != ours:
            raise InputError(
                f"{job.teacher}: the teacher's {what}: {theirs}, the student's: {ours}"
            )
    teacher = models.create(about.architecture, about.classes)
    models.load_strictly(teacher, tensors)
    return teacher.to(job.device, memory_format=torch.channels_last).eval().requires_grad_(False)


def batch_loss(
    job: Job, model: nn.Module, teacher: nn.Module | None, batch: tuple[Tensor, Tensor], key: tuple
) -> Tensor:
    """The recipe's loss on one micro-batch of uint8 images [n, 3, H, W] and labels [n].

    Args:
        key: (step, micro-batch, rank), which with the seed decides all that is random.
    """
    recipe = job.recipe
    rng = np.random.default_rng((job.seed, *key))
    images = batch[0].to(job.device, non_blocking=True)
    labels = batch[1].to(job.device, non_blocking=True)
    pixels = augment.colour(images, rng, recipe.hsv_jitter, recipe.pca_noise)
    pixels = augment.normalise(pixels, recipe.mean, recipe.std)
    targets = label_smoothing(labels, len(job.train.classes), recipe.label_smoothing)
    if recipe.mixup_alpha:
        partner, lam = mixup.draw(rng, len(labels), recipe.mixup_alpha)
        pixels, targets = mixup.mix(pixels, partner, lam), mixup.mix(targets, partner, lam)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    with half_precision(job):
        logits = model(pixels).float()
        loss = F.cross_entropy(logits, targets)
        if teacher is not None:
            loss = loss + distillation(logits, teacher(pixels).float(), recipe.distill_temperature)
    return loss


def precision(recipe: Recipe, device: torch.device) -> str:
    """What a run computes in: fp16 needs a GPU, and a CPU computes every recipe in fp32."""
    return recipe.precision if device.type == "cuda" else "fp32"


def half_precision(job: Job) -> contextlib.AbstractContextManager:
    enabled = precision(job.recipe, job.device) == "fp16"
    return torch.autocast(job.device.type, torch.float16, enabled=enabled)


class Trainer:
    """The moving parts of a run, and how they are saved and taken up again."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.raw = build(job)
        self.teacher = load_teacher(job)
        self.optimiser = optimiser(self.raw, job.recipe)
        fp16 = precision(job.recipe, job.device) == "fp16"
        self.scaler = torch.amp.GradScaler(job.device.type, enabled=fp16)
        self.model: nn.Module = self.raw
        if torch.distributed.is_initialized():
            ids = [job.device.index] if job.device.type == "cuda" else None
            self.model = DistributedDataParallel(self.raw, device_ids=ids)
        self.per_epoch = loader.steps_per_epoch(len(job.train), job.recipe.batch_size)
        self.total = total_steps(job.recipe, self.per_epoch)
        self.step = 0
        self.seconds = 0.0  # spent training, evaluation and start-up not counted
        self.wall = 0.0
        self.skipped = 0
        self.accuracy = (0.0, 0.0, 0)
        self.resume()

    @property
    def state_path(self) -> Path:
        return self.job.out / "state.pt"

    def resume(self) -> None:
        state = checkpoint.load_state(self.state_path, self.job.device)
        if state is None:
            return
        self.raw.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.seconds, self.wall = state["step"], state["seconds"], state["wall"]
        self.skipped = state["skipped"]
        self.accuracy = tuple(state["accuracy"])

    def save(self, wall: float) -> None:
        if distributed.rank() == 0:
            checkpoint.save_state(
                self.state_path,
                {
                    "model": self.raw.state_dict(),
                    "optimiser": self.optimiser.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "step": self.step,
                    "seconds": self.seconds,
                    "wall": wall,
                    "skipped": self.skipped,
                    "accuracy": list(self.accuracy),
                },
            )

    def train_step(self, micro_batches: list[tuple[Tensor, Tensor]]) -> Tensor:
        """One step of the optimiser; the mean loss over its micro-batches, still on the device."""
        lr = learning_rate(self.job.recipe, self.step, self.per_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.job.device)
        for i, batch in enumerate(micro_batches):
            key = (self.step, i, distributed.rank())
            last = i + 1 == len(micro_batches)
            hold = contextlib.nullcontext() if last else _no_sync(self.model)
            with hold:
                loss = batch_loss(self.job, self.model, self.teacher, batch, key)
                self.scaler.scale(loss / len(micro_batches)).backward()
            total += loss.detach() / len(micro_batches)
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.skipped += self.scaler.get_scale() < scale
        self.step += 1
        return total


def _no_sync(model: nn.Module) -> contextlib.AbstractContextManager:
    """Gradients of all micro-batches but the last stay in their process."""
    if isinstance(model, DistributedDataParallel):
        return model.no_sync()
    return contextlib.nullcontext()


def fit(job: Job) -> Outcome:
    """Trains to the recipe's last epoch, from the saved state if there is one.

    Raises:
        InputError: data, teacher or weights do not fit the recipe, or the loss is not finite.
    """
    began = time.perf_counter()
    trainer = Trainer(job)
    began -= trainer.wall
    view = loader.TrainingView(job.train, job.recipe, job.seed)
    writer = SummaryWriter(str(job.out / "tensorboard")) if distributed.rank() == 0 else None
    while trainer.step < trainer.total:
        loss, speed = train_epoch(trainer, view)
        trainer.accuracy = evaluate(trainer)
        report(trainer, writer, loss, speed)
        trainer.save(time.perf_counter() - began)
    if writer is not None:
        writer.close()
    wall = time.perf_counter() - began
    seen = trainer.total * job.recipe.batch_size
    return Outcome(
        {name: tensor.detach().cpu() for name, tensor in trainer.raw.state_dict().items()},
        *trainer.accuracy,
        cost=Cost(
            wall_s=wall,
            samples_per_s=seen / trainer.seconds,
            peak_memory_mb=distributed.peak_memory_mb(job.device),
            device=distributed.device_name(job.device),
            devices=distributed.world(),
            precision=precision(job.recipe, job.device),
            device_hours=wall * distributed.world() / 3600,
        ),
    )


def train_epoch(trainer: Trainer, view: loader.TrainingView) -> tuple[float, float]:
    """Trains to the end of the epoch; its mean loss, and images per second over all devices."""
    job, start = trainer.job, trainer.step % trainer.per_epoch
    batches = loader.EpochBatches(
        len(job.train),
        job.recipe.batch_size,
        seed=job.seed,
        epoch=trainer.step // trainer.per_epoch,
        start=start,
        rank=distributed.rank(),
        world=distributed.world(),
        micro=job.recipe.accumulation,
    )
    steps = min(trainer.per_epoch - start, trainer.total - trainer.step)
    source = iter(loader.training(view, batches, job.workers))
    trainer.model.train()
    began = time.perf_counter()
    losses = torch.zeros((), device=job.device)
    for i in range(1, steps + 1):
        losses += trainer.train_step([next(source) for _ in range(job.recipe.accumulation)])
        if i % PROGRESS == 0 and i < steps and distributed.rank() == 0:
            rate = i * job.recipe.batch_size / (time.perf_counter() - began)
            print(
                f"{'/'.join(job.out.parts[-3:-1])}: step {trainer.step} of {trainer.total}, "
                f"loss {losses.item() / i:.3f}, {rate:.0f} images/s",
                flush=True,
            )
    mean = losses.item() / steps  # also waits for the device
    seconds = time.perf_counter() - began
    trainer.seconds += seconds
    if not math.isfinite(mean):
        raise InputError(
            f"the loss is {mean} at step {trainer.step} of {trainer.total}: lower lr "
            f"(now {job.recipe.lr}); the last saved state is from before"
        )
    return mean, steps * job.recipe.batch_size / seconds


def evaluate(trainer: Trainer) -> tuple[float, float, int]:
    """Top-1, top-5 in percent and the number of samples on the run's test split."""
    job, recipe = trainer.job, trainer.job.recipe
    # each process has seen batches of its own; what is saved has the first one's running statistics
    distributed.copy_from_first(trainer.raw.buffers())
    view = loader.EvaluationView(
        job.test, recipe.eval_resolution, recipe.crop_ratio, recipe.interpolation
    )
    batches = loader.evaluation(
        view, 256, job.workers, rank=distributed.rank(), world=distributed.world()
    )
    return accuracy(trainer.raw, batches, job.device, recipe.mean, recipe.std)


def report(trainer: Trainer, writer: SummaryWriter | None, loss: float, speed: float) -> None:
    """One line and a set of TensorBoard scalars at the end of an epoch, by the first process."""
    if writer is None:
        return
    job, step = trainer.job, trainer.step
    lr = learning_rate(job.recipe, step - 1, trainer.per_epoch)
    top1, top5, samples = trainer.accuracy
    skipped = f", {trainer.skipped} steps skipped by the loss scaler" if trainer.skipped else ""
    print(
        f"{'/'.join(job.out.parts[-3:-1])}: "
        f"epoch {step / trainer.per_epoch:.3g} of {job.recipe.epochs:.3g}, step {step} of "
        f"{trainer.total}: loss {loss:.3f}, lr {lr:.4g}, {speed:.0f} images/s, "
        f"{job.test.split} top-1 {top1:.2f} % top-5 {top5:.2f} % of {samples}{skipped}",
        flush=True,
    )
    for name, value in (
        ("train/loss", loss),
        ("train/lr", lr),
        ("train/images_per_s", speed),
        ("eval/top1", top1),
        ("eval/top5", top5),
    ):
        writer.add_scalar(name, value, step)
