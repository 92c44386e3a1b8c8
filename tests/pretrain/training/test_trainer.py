"""The trainer: loss, optimiser steps, averaged weights, checks, saved state."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from core.errors import RunError
from core.runtime import distributed
from core.runtime.step_monitor import StepMonitor
from pretrain.recipe import Recipe
from pretrain.training import batch as batches
from pretrain.training.trainer import Job, Trainer, optimiser, precision

MakeJob = Callable[..., Job]
Pair = tuple[torch.Tensor, torch.Tensor]
CPU = torch.device("cpu")


def plain(settings: Recipe) -> Recipe:
    """A recipe without randomness in the loss."""
    return replace(settings, hsv_jitter=0.0, pca_noise=0.0, mixup_alpha=0.0)


# --- loss and step


class Colour(nn.Module):
    """A small network without batch norm."""

    def __init__(self, seed: int, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(3 * 4, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))

    def by_hand(self, pixels: np.ndarray) -> np.ndarray:
        n, c, h, w = pixels.shape
        pooled = pixels.reshape(n, c, 2, h // 2, 2, w // 2).mean(axis=(3, 5)).reshape(n, -1)
        weight, bias = (p.detach().double().numpy() for p in self.linear.parameters())
        return pooled @ weight.T + bias


def log_softmax(z: np.ndarray) -> np.ndarray:
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


@pytest.fixture
def batch() -> Pair:
    rng = np.random.default_rng(8)
    images = rng.integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)
    return torch.from_numpy(images), torch.from_numpy(rng.integers(0, 3, 6))


def normalised(images: torch.Tensor, settings: Recipe) -> np.ndarray:
    mean, std = (np.array(m)[:, None, None] for m in (settings.mean, settings.std))
    return (images.numpy() / 255 - mean) / std


def smoothed(labels: torch.Tensor, classes: int = 3, eps: float = 0.1) -> np.ndarray:
    q = np.full((len(labels), classes), eps / (classes - 1))
    q[np.arange(len(labels)), labels.numpy()] = 1 - eps
    return q


@pytest.mark.parametrize("mix", [False, True])
@pytest.mark.parametrize("distil", [False, True])
def test_the_loss_is_numpys(
    make_job: MakeJob,
    tiny_recipe: Recipe,
    batch: Pair,
    monkeypatch: pytest.MonkeyPatch,
    distil: bool,
    mix: bool,
) -> None:
    """Both losses see the same mixed images; the distillation loss has weight 0."""
    partner, lam = torch.tensor([3, 0, 1, 5, 4, 2]), torch.tensor([0.9, 0.5, 0.2, 1, 0, 0.6])
    mixture = batches.Mixture(partner, lam, torch.zeros(6, 4, dtype=torch.int64), lam)
    monkeypatch.setattr(batches, "draw", lambda *_: mixture if mix else None)
    student, teacher = Colour(1), Colour(2)
    trainer = Trainer(make_job(replace(plain(tiny_recipe), mixup_alpha=0.2 if mix else 0.0)))
    trainer.model, trainer.teacher = student, teacher if distil else None

    loss = trainer.loss(*batch, (0, 0, 0))

    images, labels = batch
    x, q = normalised(images, trainer.job.recipe), smoothed(labels)
    if mix:
        w = lam.numpy()
        x = w[:, None, None, None] * x + (1 - w)[:, None, None, None] * x[partner.numpy()]
        q = w[:, None] * q + (1 - w)[:, None] * q[partner.numpy()]
    z, r = student.by_hand(x), teacher.by_hand(x)
    expected = -(q * log_softmax(z)).sum(axis=1).mean()
    if distil:
        soft = np.exp(log_softmax(r / 20))
        expected += 400 * -(soft * log_softmax(z / 20)).sum(axis=1).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_what_is_random_in_the_loss_follows_step_part_process_and_seed(
    make_job: MakeJob, tiny_recipe: Recipe, batch: Pair
) -> None:
    def loss(place: tuple, seed: int = 3) -> float:
        trainer = Trainer(make_job(tiny_recipe, seed=seed))
        trainer.model = Colour(1)
        return trainer.loss(*batch, place).item()

    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert len({*map(loss, places), loss((0, 0, 0), seed=4)}) == 5
    assert loss((1, 0, 0)) == loss((1, 0, 0))


class Dropping(Colour):
    """A layer that draws from torch's own generator, as stochastic depth does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(super().forward(x), 0.5)


def test_what_layers_draw_follows_the_place_and_not_what_was_drawn_before(
    make_job: MakeJob, tiny_recipe: Recipe, batch: Pair
) -> None:
    trainer = Trainer(make_job(plain(tiny_recipe)))
    trainer.model = Dropping(1)
    found = []
    for place in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (7, 0, 0), (0, 0, 0)):
        torch.rand(len(found))
        found.append(trainer.loss(*batch, place).item())

    assert len(set(found)) == 4
    assert found[0] == found[4]


def test_accumulation_has_the_gradient_of_the_whole_batch(
    make_job: MakeJob, tiny_recipe: Recipe, batch: Pair
) -> None:
    images, labels = batch
    found = []
    for parts in (1, 2, 3):
        trainer = Trainer(make_job(replace(plain(tiny_recipe), accumulation=parts)))
        trainer.raw = trainer.model = Colour(1)
        trainer.optimiser = torch.optim.SGD(trainer.raw.parameters(), lr=0.0)
        chunks = zip(images.chunk(parts), labels.chunk(parts), strict=True)
        micro = [(*chunk, []) for chunk in chunks]
        loss = trainer.train_step(micro)
        found.append((loss, [p.grad for p in trainer.raw.parameters()]))

    for loss, gradients in found[1:]:
        torch.testing.assert_close(loss, found[0][0])
        for one, whole in zip(gradients, found[0][1], strict=True):
            torch.testing.assert_close(one, whole)
    assert found[0][1][0].abs().max() > 1e-3


def test_steps_are_nesterovs_with_decay_on_weights_only(
    make_job: MakeJob, tiny_recipe: Recipe, batch: Pair
) -> None:
    """v = mu v + g + wd w; w = w - lr (g + wd w + mu v), with the learning rate of the step."""
    settings = replace(plain(tiny_recipe), weight_decay=0.1, lr=0.05, lr_decay="step")
    trainer = Trainer(make_job(settings))
    trainer.raw = trainer.model = Colour(1)
    trainer.optimiser = optimiser(trainer.raw, settings, CPU)
    weights = [p.detach().double().numpy().copy() for p in trainer.raw.parameters()]
    momenta = [np.zeros_like(w) for w in weights]

    for step in range(4):
        trainer.train_step([(*batch, [])])
        lr = 0.05 * min(1, (step + 1) / 3)  # one epoch of 3 steps of warm-up, of 3 epochs
        lr = lr if step < 3 else 0.05 / 10  # and at step 3 of 9 a quarter is over
        for i, parameter in enumerate(trainer.raw.parameters()):
            decay = 0.1 if parameter.dim() == 2 else 0.0
            g = parameter.grad.double().numpy() + decay * weights[i]
            momenta[i] = 0.9 * momenta[i] + g
            weights[i] = weights[i] - lr * (g + 0.9 * momenta[i])
            np.testing.assert_allclose(parameter.detach().numpy(), weights[i], rtol=1e-4, atol=1e-6)
    assert trainer.step == 4


def test_lamb_by_hand_and_without_clipping(
    make_job: MakeJob, tiny_recipe: Recipe, batch: Pair
) -> None:
    """u = m / (sqrt(v) + eps) + wd w with m and v without bias; w = w - lr |w| / |u| u.

    Where there is no decay, timm leaves the ratio of the norms out.
    """
    settings = replace(
        plain(tiny_recipe), optimiser="lamb", weight_decay=0.1, lr=0.05, warmup_epochs=0
    )
    settings = replace(settings, std=(0.02, 0.02, 0.02))  # for gradients with a norm above 1
    trainer = Trainer(make_job(settings))
    trainer.raw = trainer.model = Colour(1)
    trainer.optimiser = optimiser(trainer.raw, settings, CPU)
    weights = [p.detach().double().numpy().copy() for p in trainer.raw.parameters()]
    m, v = ([np.zeros_like(w) for w in weights] for _ in range(2))
    largest = 0.0

    for step in range(4):
        trainer.train_step([(*batch, [])])
        lr = 0.05 * 0.5 * (1 + math.cos(math.pi * step / 9))
        for i, parameter in enumerate(trainer.raw.parameters()):
            g = parameter.grad.double().numpy()
            largest = max(largest, np.linalg.norm(g))
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g**2
            corrected = m[i] / (1 - 0.9 ** (step + 1)), v[i] / (1 - 0.999 ** (step + 1))
            u = corrected[0] / (np.sqrt(corrected[1]) + 1e-6)
            if parameter.dim() == 2:
                u = u + 0.1 * weights[i]
                u = u * np.linalg.norm(weights[i]) / np.linalg.norm(u)
            weights[i] = weights[i] - lr * u
            np.testing.assert_allclose(parameter.detach().numpy(), weights[i], rtol=1e-3, atol=1e-5)
    assert largest > 1


@pytest.mark.parametrize("off", [True, False])
def test_the_optimiser_decays_everything_unless_told(tiny_recipe: Recipe, off: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    found = optimiser(model, replace(tiny_recipe, no_bias_decay=off), CPU)

    decays = {id(p): g["weight_decay"] for g in found.param_groups for p in g["params"]}
    assert len(decays) == 4
    assert decays.pop(id(model[0].weight)) == 1e-4
    assert set(decays.values()) == {0.0 if off else 1e-4}
    for group in found.param_groups:
        assert (group["momentum"], group["nesterov"]) == (0.9, True)


def test_precision(tiny_recipe: Recipe) -> None:
    settings = replace(tiny_recipe, precision="fp16")
    assert precision(settings, torch.device("cuda")) == "fp16"
    assert precision(settings, torch.device("cpu")) == "fp32"
    assert precision(tiny_recipe, torch.device("cuda")) == "fp32"


# --- averaged weights


def test_averaged_weights_by_hand(make_job: MakeJob, tiny_recipe: Recipe, batch: Pair) -> None:
    """a = 0.9 a + 0.1 w after each step, of the running statistics too."""
    images = batch[0].repeat(1, 1, 4, 4)
    trainer = Trainer(make_job(replace(tiny_recipe, ema_decay=0.9, warmup_epochs=0)))
    expected = {name: t.double().clone() for name, t in trainer.raw.state_dict().items()}

    for _ in range(3):
        trainer.train_step([(images, batch[1], [])])
        for name, tensor in trainer.raw.state_dict().items():
            if tensor.is_floating_point():
                expected[name] = 0.9 * expected[name] + 0.1 * tensor.double()

    found = trainer.result.state_dict()
    assert set(found) == set(expected)
    for name, tensor in found.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-4, atol=1e-6)
    assert not torch.equal(found["fc.weight"], trainer.raw.fc.weight)
    without = Trainer(make_job(tiny_recipe, "without"))
    assert without.result is without.raw


# --- checks of a step


class Scaler:
    """A loss scaler with a scale that the test sets."""

    def __init__(self, scale: float) -> None:
        self.scale = torch.tensor(scale)

    def is_enabled(self) -> bool:
        return True

    def _get_scale_async(self) -> torch.Tensor:
        return self.scale


OFF = torch.amp.GradScaler("cpu", enabled=False)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf")])
def test_a_cpus_verdict_is_of_the_step_itself(loss: float) -> None:
    monitor = StepMonitor(CPU)

    found = [monitor.check(torch.tensor(value), False, OFF) for value in (1.0, loss, 2.0)]

    assert [status.finite for status in found] == [True, False, True]
    assert not any(status.stop_requested or status.skipped for status in found)
    assert monitor.check(torch.tensor(1.0), True, OFF).stop_requested


def test_a_scale_that_falls_tells_a_skipped_step() -> None:
    """The scale starts high, falls after an overflow, and rises again after good steps."""
    monitor, found = StepMonitor(CPU), []
    for scale in (65536.0, 32768.0, 16384.0, 16384.0, 32768.0, 16384.0):
        status = monitor.check(torch.tensor(0.5), False, Scaler(scale))
        assert status.finite
        found.append(status.skipped)

    assert found == [False, True, True, False, False, True]


# --- saved state


def test_a_state_holds_everything_that_a_run_goes_on_with(
    make_job: MakeJob, tiny_recipe: Recipe, batch: Pair
) -> None:
    job = make_job(replace(tiny_recipe, ema_decay=0.5))
    one = Trainer(job)
    images = batch[0].repeat(1, 1, 4, 4)
    for _ in range(2):
        loss = one.train_step([(images, batch[1], [("b.jpg", "torn")])])
        one.count(loss, 0.25)
    one.skipped = 3
    one.history.append({"step": 0, "top1": 5.0})
    one.save()

    two = Trainer(job)

    for part in ("raw", "ema"):
        mine, theirs = (getattr(t, part).state_dict() for t in (one, two))
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    momenta = [list(t.optimiser.state.values()) for t in (one, two)]
    assert len(momenta[0]) == len(list(one.raw.parameters()))
    for mine, theirs in zip(*momenta, strict=True):
        assert torch.equal(mine["momentum_buffer"], theirs["momentum_buffer"])
    assert (two.step, two.skipped, two.losses_of) == (2, 3, 2)
    assert (two.epoch_seconds, two.seconds) == (0.5, 0.5)
    assert two.history == [{"step": 0, "top1": 5.0}]
    assert two.unreadable == {"b.jpg": "torn"}
    assert two.losses.dtype == torch.float64
    assert two.mean_loss() == one.mean_loss() > 0
    assert two.wall() >= one.wall() - 0.5


def test_processes_that_see_different_states_are_refused(
    make_job: MakeJob, tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system where another node's files appear late."""
    monkeypatch.setattr(distributed, "from_all", lambda mine: [mine, 8])

    with pytest.raises(RunError, match=r"the processes found states of the steps \[None, 8\]"):
        Trainer(make_job(tiny_recipe))


@pytest.mark.parametrize("part", ["weights", "momenta", "averages"])
def test_what_is_not_finite_is_not_saved(
    make_job: MakeJob, tiny_recipe: Recipe, batch: Pair, part: str
) -> None:
    trainer = Trainer(make_job(replace(tiny_recipe, ema_decay=0.5)))
    trainer.train_step([(batch[0].repeat(1, 1, 4, 4), batch[1], [])])
    trainer.save()
    before = {p: p.read_bytes() for p in trainer.job.out.iterdir()}
    trainer.step = 2
    with torch.no_grad():
        if part == "momenta":
            next(iter(trainer.optimiser.state.values()))["momentum_buffer"][0] = math.inf
        else:
            model = trainer.raw if part == "weights" else trainer.ema.module
            model.fc.weight[1, 2] = math.nan

    with pytest.raises(RunError, match=r"step 2: .* is not finite, so this state was not saved"):
        trainer.save()

    assert {p: p.read_bytes() for p in trainer.job.out.iterdir()} == before
