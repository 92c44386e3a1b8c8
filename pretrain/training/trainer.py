"""The trainer: model, optimiser, loss scaler and averaged weights; its steps and its state."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from timm.optim import Lamb
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from core import exchange
from core.errors import InputError
from core.files import write_atomically
from core.runtime import distributed, resume_state, rng
from pretrain.images import device_cache, loader
from pretrain.images.datasets import ImageSet
from pretrain.model import architectures, initialisation
from pretrain.recipe import Recipe
from pretrain.training import batch
from pretrain.training.lr_schedule import learning_rate, total_steps
from pretrain.tricks.distillation import distillation
from pretrain.tricks.no_bias_decay import no_bias_decay


@dataclass(frozen=True)
class Job:
    """One run of the loop: what is trained on what, where, from which weights.

    Attributes:
        initial: tensors to start from in place of random ones; strict but for the classifier.
        teacher: exchange file of the teacher, for recipes that distil.
        out: the run's folder; holds the resume states and the TensorBoard scalars.
        save_every: steps between states; there is one at the end of each epoch besides.
        compiled: run the model through torch.compile.
        track: where its curves go besides TensorBoard: "wandb", "mlflow".
        resident: keep the training set on the device, if its pictures are of one size. As with the
            number of workers, a run is the same run with it, but for rounding.
        frozen: train the classifier alone; all else stays as it is, in evaluation mode.
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
    save_every: int = 1000
    compiled: bool = False
    resident: bool = False
    frozen: bool = False
    track: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As lines of the log call it: "pretrain/best"."""
        return "/".join(self.out.parts[-3:-1])


def build(job: Job) -> architectures.TimmModel:
    """The model at step 0: initialised as the recipe says, or with the weights it starts from.

    Raises:
        InputError: a tensor of `job.initial` has no place in the model, or the other way round.
    """
    recipe = job.recipe
    torch.manual_seed(job.seed)
    model = architectures.for_training(
        recipe.arch, len(job.train.classes), recipe.eval_resolution, recipe.drop_path
    )
    initialisation.initialise(model, xavier=recipe.init == "xavier", zero_gamma=recipe.zero_gamma)
    if job.initial is not None:
        classifier = architectures.classifier(model)
        kept = {k: v for k, v in job.initial.items() if not k.startswith(f"{classifier}.")}
        fresh = {k: v for k, v in model.state_dict().items() if k.startswith(f"{classifier}.")}
        architectures.load_strictly(model, kept | fresh)
    if job.frozen:
        model.requires_grad_(False)
        model.get_submodule(architectures.classifier(model)).requires_grad_(True)
    return model.to(job.device, memory_format=torch.channels_last)


def load_teacher(job: Job) -> architectures.TimmModel | None:
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
    tensors, about = exchange.load_exchange(job.teacher)
    for what, theirs, ours in (
        ("classes", about.classes, len(job.train.classes)),
        ("dataset", about.dataset, job.train.name),
        ("mean", about.mean, job.recipe.mean),
        ("std", about.std, job.recipe.std),
    ):
        if theirs != ours:
            raise InputError(
                f"{job.teacher}: the teacher's {what}: {theirs}, the student's: {ours}"
            )
    teacher = architectures.create(about.architecture, about.classes)
    architectures.load_strictly(teacher, tensors)
    return teacher.to(job.device, memory_format=torch.channels_last).eval().requires_grad_(False)


def optimiser(model: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    """Nesterov SGD or LAMB over all parameters, with weight decay where the recipe wants it."""
    groups: Any = [p for p in model.parameters() if p.requires_grad]
    if recipe.no_bias_decay:
        groups = no_bias_decay(model, recipe.weight_decay)
    if recipe.optimiser == "lamb":
        # timm clips LAMB's gradients at a norm of 1 unless told; the recipes have no clipping
        return Lamb(groups, lr=0.0, weight_decay=recipe.weight_decay, max_grad_norm=None)
    return torch.optim.SGD(
        groups,
        lr=0.0,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
        fused=device.type == "cuda",
    )


def precision(recipe: Recipe, device: torch.device) -> str:
    """What a run computes in: fp16 needs a GPU, and a CPU computes every recipe in fp32."""
    return recipe.precision if device.type == "cuda" else "fp32"


# What a Trainer's state holds as it stands in it, and what it holds besides.
STATE = (
    *("step", "skipped", "history", "right", "counted", "unreadable"),
    *("losses_of", "epoch_seconds", "seconds"),
)
MODULES = ("model", "optimiser", "scaler", "ema", "losses", "wall")


class Trainer:
    """Model, optimiser, loss scaler and counters of a run; their steps, saving and resuming."""

    def __init__(self, job: Job) -> None:
        recipe = job.recipe
        self.job = job
        self.raw = build(job)
        self.teacher = load_teacher(job)
        self.optimiser = optimiser(self.raw, recipe, job.device)
        self.fp16 = precision(recipe, job.device) == "fp16"
        self.scaler = torch.amp.GradScaler(job.device.type, enabled=self.fp16)
        self.ema = ModelEmaV3(self.raw, recipe.ema_decay) if recipe.ema_decay else None
        self.per_epoch = loader.steps_per_epoch(len(job.train), recipe.batch_size)
        self.total = total_steps(recipe, self.per_epoch)
        self.step = 0
        self.skipped = 0  # steps that the loss scaler left out
        self.history: list[dict[str, Any]] = []  # one entry for each epoch that was evaluated
        self.right = torch.zeros(0, 2, dtype=torch.bool)  # by sample, of the last evaluation
        self.counted = torch.zeros(0, dtype=torch.int64)  # which samples these are
        self.unreadable: dict[str, str] = {}  # files, and the reasons
        self.resident = device_cache.load(job.train, job.device) if job.resident else None
        self.losses = torch.zeros((), dtype=torch.float64, device=job.device)  # of this epoch
        self.losses_of = 0  # so many steps
        self.epoch_seconds = 0.0
        self.seconds = 0.0  # spent training, evaluation and start-up not counted
        self.began = time.perf_counter()  # moved into the past by what earlier processes took
        self.resume()
        if self.resident is not None:
            self.unreadable.update(self.resident.problems)
        self.model: nn.Module = self.raw
        if job.compiled:
            self.model = cast(nn.Module, torch.compile(self.raw))
        if torch.distributed.is_initialized():
            ids = [job.device.index] if job.device.type == "cuda" else None
            self.model = DistributedDataParallel(self.model, device_ids=ids)

    @property
    def result(self) -> architectures.TimmModel:
        """The model that is evaluated, and in the end kept."""
        return self.raw if self.ema is None else self.ema.module

    @property
    def evaluation_is_due(self) -> bool:
        """Whether an epoch has ended here, and its evaluation has not been made."""
        ended = self.step % self.per_epoch == 0 or self.step == self.total
        done = self.history[-1]["step"] if self.history else 0
        return ended and self.step != done

    def training_view(self) -> Dataset:
        """The training set's samples, or what is drawn for them if it is resident."""
        if self.resident is not None:
            return device_cache.AugmentationParameters(
                self.resident, self.job.recipe, self.job.seed
            )
        return loader.TrainingView(self.job.train, self.job.recipe, self.job.seed)

    @cached_property
    def test_view(self) -> loader.EvaluationView:
        recipe = self.job.recipe
        kind = loader.EvaluationView if self.resident is None else device_cache.CachedEvaluationView
        return kind(self.job.test, recipe.eval_resolution, recipe.crop_ratio, recipe.interpolation)

    def resume(self) -> None:
        """Resumes from the newest state, if there is one.

        Raises:
            RunError: the processes found different states.
        """
        state = resume_state.load_common_state(
            self.job.out, self.job.device, "step", (*STATE, *MODULES)
        )
        if state is None:
            return
        self.raw.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        for name in STATE:
            setattr(self, name, state[name])
        self.losses.fill_(state["losses"])
        self.began -= state["wall"]

    def save(self) -> None:
        """Called by all processes at the same step; the first one writes.

        Raises:
            Diverged: in all of them, if a weight is not finite.
        """
        for theirs in distributed.from_all(self.unreadable):
            self.unreadable |= theirs
        if distributed.rank() == 0:
            write_unreadable(self.job.out, sorted(self.unreadable.items()))
        state = {
            "model": self.raw.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "losses": self.losses.item(),
            "wall": self.wall(),
            **{name: getattr(self, name) for name in STATE},
        }
        advice = f"lower lr (now {self.job.recipe.lr})"
        resume_state.save_state(self.job.out, self.step, state, advice)

    def wall(self) -> float:
        """Wall-clock seconds of the run, earlier interrupted processes included."""
        return time.perf_counter() - self.began

    def count(self, loss: Tensor, seconds: float) -> None:
        """Adds a step to the counters of the epoch."""
        self.losses += loss
        self.losses_of += 1
        self.epoch_seconds += seconds
        self.seconds += seconds

    def mean_loss(self) -> float:
        """Over this epoch's steps so far; waits for the device."""
        return self.losses.item() / max(1, self.losses_of)

    def speed(self) -> float:
        """Images per second of this epoch, over all devices."""
        return self.losses_of * self.job.recipe.batch_size / max(1e-9, self.epoch_seconds)

    def begin_epoch(self) -> None:
        self.losses.zero_()
        self.losses_of, self.epoch_seconds = 0, 0.0

    def train_step(self, micro_batches: Sequence[loader.Batch]) -> Tensor:
        """One step of the optimiser; the mean loss over its micro-batches, still on the device."""
        lr = learning_rate(self.job.recipe, self.step, self.per_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.job.device)
        for i, (images, labels, problems) in enumerate(micro_batches):
            self.unreadable.update(problems)
            last = i + 1 == len(micro_batches)
            with contextlib.nullcontext() if last else _no_sync(self.model):
                loss = self.loss(images, labels, (self.step, i, distributed.rank()))
                self.scaler.scale(loss / len(micro_batches)).backward()
            total += loss.detach() / len(micro_batches)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update(self.raw)
        self.step += 1
        return total

    def loss(self, images: Tensor, labels: Tensor, place: tuple[int, int, int]) -> Tensor:
        """The recipe's loss on one micro-batch of uint8 images [n, 3, H, W] and labels [n].

        Args:
            images: or, of a resident training set, what is drawn for each of them.
            place: (step, micro-batch, rank), which with the seed decides all that is random.
        """
        job, recipe = self.job, self.job.recipe
        if self.resident is not None:
            images = device_cache.augment(self.resident, images, recipe)
        pixels, targets = batch.prepare(
            recipe,
            images.to(job.device, non_blocking=True),
            labels.to(job.device, non_blocking=True),
            len(job.train.classes),
            rng.generator("batch", job.seed, *place),
        )
        torch.manual_seed(rng.torch_seed("layers", job.seed, *place))
        with torch.autocast(job.device.type, torch.float16, enabled=self.fp16):
            logits = self.model(pixels).float()
            taught = None if self.teacher is None else self.teacher(pixels).float()
        loss = batch.loss_against_targets(recipe, logits, targets)
        if taught is not None:
            loss = loss + distillation(logits, taught, recipe.distill_temperature)
        return loss


def _no_sync(model: nn.Module) -> contextlib.AbstractContextManager:
    """Gradients of all micro-batches but the last stay in their process."""
    if isinstance(model, DistributedDataParallel):
        return model.no_sync()
    return contextlib.nullcontext()


UNREADABLE = "unreadable.tsv"


def write_unreadable(folder: Path, problems: Sequence[tuple[str, str]]) -> None:
    """Writes the list of unreadable files, with the reasons, into the run directory."""
    if problems:
        lines = (f"{name}\t{reason}\n" for name, reason in problems)
        write_atomically(folder / UNREADABLE, "".join(lines).encode())
