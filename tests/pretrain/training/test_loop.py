"""The training loop: a complete run, and runs that must stop."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.errors import Diverged, InputError, RunError
from core.exchange import weights_sha256
from core.runtime import resume_state
from pretrain.model import architectures
from pretrain.recipe import Recipe
from pretrain.training import loop

MakeJob = Callable[..., loop.Job]
CPU = torch.device("cpu")


def plain(settings: Recipe, **changes: object) -> Recipe:
    """A recipe without randomness in the loss."""
    return replace(settings, hsv_jitter=0.0, pca_noise=0.0, mixup_alpha=0.0, **changes)


# --- a whole run


def accuracy_by_hand(job: loop.Job, tensors: dict[str, torch.Tensor]) -> float:
    """Top-1 in percent, one image at a time, resized by Pillow."""
    model = architectures.create("resnet10d_narrow", 3)
    model.load_state_dict(tensors)
    model.eval()
    right = 0
    mean, std = np.array(job.recipe.mean), np.array(job.recipe.std)
    for image, label in zip(job.test.pixels, job.test.labels, strict=True):
        # 32 / 0.875 is 36.57: resize to 36 pixels, crop the central 32
        small = Image.fromarray(image).resize((36, 36), Image.Resampling.BILINEAR)
        x = (np.asarray(small)[2:34, 2:34] / 255 - mean) / std
        logits = model(torch.from_numpy(x.astype(np.float32)).permute(2, 0, 1)[None])
        right += int(logits.argmax() == label)
    return 100 * right / 21


def test_a_run_learns_and_its_accuracy_is_that_of_its_weights(
    make_job: MakeJob, tiny_recipe: Recipe
) -> None:
    job = make_job(plain(tiny_recipe, epochs=8))

    outcome = loop.fit(job)

    assert outcome.right.shape == (21, 2)
    assert [outcome.top1, outcome.top5] == [100 * k / 21 for k in outcome.right.sum(axis=0)]
    assert outcome.top1 == pytest.approx(accuracy_by_hand(job, outcome.tensors))
    assert outcome.top5 == 100
    assert outcome.top1 > 80

    assert outcome.cost.devices == 1
    assert outcome.cost.precision == "fp32"
    assert outcome.cost.wall_s > 0
    assert outcome.cost.device_hours == pytest.approx(outcome.cost.wall_s / 3600)
    assert outcome.cost.samples_per_s > 0
    assert list((job.out / "tensorboard").iterdir())


def test_the_same_seed_gives_the_same_bytes(make_job: MakeJob, tiny_recipe: Recipe) -> None:
    settings = replace(tiny_recipe, epochs=1)
    runs = [("one", 3, 0), ("two", 3, 1), ("other", 4, 0)]

    one, two, other = (
        weights_sha256(loop.fit(make_job(settings, out, seed=seed, workers=workers)).tensors)
        for out, seed, workers in runs
    )

    assert one == two
    assert one != other


def test_each_epoch_has_an_order_of_its_own(
    make_job: MakeJob, tiny_recipe: Recipe, samples_read: list[tuple[int, int, int]]
) -> None:
    loop.fit(make_job(tiny_recipe))

    seen = samples_read
    assert [epoch for epoch, _, _ in seen] == [0] * 48 + [1] * 48 + [2] * 48
    orders = [[index for _, index, _ in seen[48 * k : 48 * (k + 1)]] for k in range(3)]
    assert all(sorted(order) == list(range(48)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_averaged_weights_are_what_is_evaluated_and_kept(
    make_job: MakeJob, tiny_recipe: Recipe
) -> None:
    job = make_job(plain(tiny_recipe, epochs=6, ema_decay=0.8))

    outcome = loop.fit(job)

    state = resume_state.load_state(job.out, CPU)
    averages = {k.removeprefix("module."): t for k, t in state["ema"].items()}
    assert (
        weights_sha256(outcome.tensors)
        == weights_sha256(averages)
        != weights_sha256(state["model"])
    )
    assert outcome.top1 == pytest.approx(accuracy_by_hand(job, outcome.tensors))


def test_the_history_has_each_epoch_once(make_job: MakeJob, tiny_recipe: Recipe) -> None:
    """3 steps per epoch: linear to 0.05 in the first, then half a cosine over the other 4."""
    job = make_job(replace(tiny_recipe, epochs=7 / 3))

    outcome = loop.fit(job)

    history = json.loads((job.out / "history.json").read_text())
    assert [entry["step"] for entry in history] == [3, 6, 7]
    assert [entry["epoch"] for entry in history] == pytest.approx([1, 2, 7 / 3])
    rates = [0.05, *(0.05 * 0.5 * (1 + math.cos(math.pi * t / 4)) for t in (2, 3))]
    assert [entry["lr"] for entry in history] == pytest.approx(rates)
    warm_up = [0.05 * step / 3 for step in (1, 2, 3)]
    decay = [0.05 * 0.5 * (1 + math.cos(math.pi * t / 4)) for t in range(4)]
    kept = [entry["learning_rates"] for entry in history]
    assert [len(epoch) for epoch in kept] == [3, 3, 1]
    steps = [point for epoch in kept for point in epoch]
    assert [at for at, _ in steps] == pytest.approx([step / 3 for step in range(7)])
    assert [rate for _, rate in steps] == pytest.approx(warm_up + decay)
    assert all(entry["samples"] == 21 and entry["images_per_s"] > 0 for entry in history)
    assert (history[-1]["top1"], history[-1]["top5"]) == (outcome.top1, outcome.top5)


def test_a_run_through_torch_compile(
    make_job: MakeJob, tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are close to those without compilation, under the same names.

    The eager backend traces the model without generating code, which takes half a minute.
    """
    traced = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", traced)
    settings = plain(tiny_recipe, epochs=1, arch="resnet10_narrow")
    one, two = (
        loop.fit(make_job(settings, str(compiled), compiled=compiled)) for compiled in (False, True)
    )

    assert set(one.tensors) == set(two.tensors)
    for name, tensor in one.tensors.items():
        torch.testing.assert_close(two.tensors[name], tensor, rtol=1e-2, atol=1e-3)


def test_a_run_may_end_within_an_epoch(make_job: MakeJob, tiny_recipe: Recipe) -> None:
    job = make_job(replace(tiny_recipe, epochs=4 / 3))  # of 3 steps each

    loop.fit(job)

    assert resume_state.load_state(job.out, CPU)["step"] == 4


# --- runs that must stop


def test_too_small_a_set_is_refused(
    make_job: MakeJob, tiny_recipe: Recipe, make_images: Callable
) -> None:
    with pytest.raises(InputError, match="10 training samples do not fill one batch of 16"):
        loop.fit(make_job(tiny_recipe, train=make_images(10)))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("bad", [3, 4, 6])
def test_a_loss_that_is_not_finite_ends_the_run_in_that_step(
    make_job: MakeJob,
    tiny_recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
    value: float,
    bad: int,
) -> None:
    """The states saved before it, at steps 2, 3, 4 and 6, hold finite numbers only."""
    whole, steps = loop.Trainer.loss, []

    def poisoned(trainer: loop.Trainer, images, labels, place) -> torch.Tensor:
        steps.append(place[0] + 1)
        loss = whole(trainer, images, labels, place)
        return loss * value if place[0] + 1 == bad else loss

    monkeypatch.setattr(loop.Trainer, "loss", poisoned)
    job = make_job(replace(tiny_recipe, warmup_epochs=0), save_every=2)

    with pytest.raises(
        InputError,
        match=rf"not finite at step {bad} of 9: lower lr \(now 0.05\); the newest saved state",
    ):
        loop.fit(job)

    assert steps[-1] == bad
    saved = [int(path.stem[-9:]) for path in resume_state.states(job.out)]
    assert saved == [step for step in (6, 4, 3, 2) if step < bad][:2]
    state = resume_state.load_state(job.out, CPU)
    assert all(t.isfinite().all() for _, t in resume_state.tensors_of(state))


def test_weights_that_are_not_finite_are_not_saved_though_the_loss_was(
    make_job: MakeJob, tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that is too large after a finite loss, at a step that saves."""
    whole = loop.Trainer.train_step

    def overflowing(trainer: loop.Trainer, batches: list) -> torch.Tensor:
        loss = whole(trainer, batches)
        if trainer.step == 4:
            with torch.no_grad():
                trainer.raw.fc.weight[0, 0] = math.inf
        return loss

    monkeypatch.setattr(loop.Trainer, "train_step", overflowing)
    job = make_job(tiny_recipe, save_every=2)

    with pytest.raises(RunError, match=r"step 4: model\.fc\.weight is not finite"):
        loop.fit(job)

    assert [path.stem for path in resume_state.states(job.out)] == [
        "state-000000003",
        "state-000000002",
    ]


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob("state-*")}


def test_a_wild_learning_rate_ends_the_run(make_job: MakeJob, tiny_recipe: Recipe) -> None:
    job = make_job(replace(tiny_recipe, epochs=1, warmup_epochs=0))
    loop.fit(job)
    before = contents(job.out)
    wild = replace(job.recipe, epochs=3, lr=1e30)

    with pytest.raises(InputError, match=r"the loss is not finite at step \d of 9") as error:
        loop.fit(replace(job, recipe=wild))

    assert "1e+30" in str(error.value)
    assert contents(job.out) == before


def test_steps_that_the_scaler_skips_are_counted_and_told(
    make_job: MakeJob,
    tiny_recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = loop.StepMonitor.status

    def falling(monitor: loop.StepMonitor, flags: torch.Tensor) -> object:
        return replace(whole(monitor, flags), skipped=True)

    monkeypatch.setattr(loop.StepMonitor, "status", falling)
    job = make_job(replace(tiny_recipe, epochs=1))

    loop.fit(job)

    assert "3 steps skipped by the loss scaler" in capsys.readouterr().out
    assert resume_state.load_state(job.out, CPU)["skipped"] == 3


def test_all_processes_stop_if_one_of_them_has_diverged(
    make_job: MakeJob, tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At an epoch's last step: on a GPU its status arrives one step later."""
    monkeypatch.setattr(
        loop.distributed, "from_all", lambda mine: [mine, False] if mine is True else [mine]
    )
    with pytest.raises(Diverged, match="the loss is not finite at step 3 of 9"):
        loop.fit(make_job(tiny_recipe))
