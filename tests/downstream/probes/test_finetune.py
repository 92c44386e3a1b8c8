"""Fine-tuning: the choice on held-out data, the single test, resume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from core import record
from core.errors import InputError, Interrupted
from core.exchange import load_exchange
from core.files import file_name
from downstream.__main__ import main
from downstream.probes import finetune
from pretrain.images import datasets
from pretrain.training import loop
from pretrain.training.trainer import build

ARCH = "resnet10d_narrow"
SMALL = ["batch_size=8", "base_batch_size=8", "warmup_epochs=0"]
pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def planned(exchange: Callable[..., Path], make_run: Callable) -> Callable[..., finetune.Plan]:
    path = exchange()
    about = load_exchange(path)[1]

    def plan(*options: str, protocol: str = "paper", **choices: int) -> finetune.Plan:
        named = dict(dataset="cifar10", cfg_options=options)
        return finetune.plan(make_run("finetune", path, protocol, **named, **choices), about)

    return plan


def pairs(plan: finetune.Plan) -> list[tuple[float, float]]:
    return [(candidate.epochs, candidate.lr) for candidate in plan.candidates]


def test_the_papers_grid(planned: Callable[..., finetune.Plan]):
    plan = planned()
    rates = (0.003, 0.01, 0.03)
    assert pairs(plan) == [(e, lr) for e in (300, 1000) for lr in rates]
    for candidate in plan.candidates:
        assert (candidate.batch_size, candidate.weight_decay) == (768, 1e-4)
        assert candidate.arch == ARCH
        assert candidate.mean == (0.485, 0.456, 0.406)
    assert plan.described()["grid"] == {"epochs": [300, 1000], "lr": list(rates)}
    assert not {"lr", "epochs"} & set(plan.described()), "seeds may choose differently"


def test_the_demo_has_no_choice(planned: Callable[..., finetune.Plan]):
    plan = planned(protocol="demo")
    assert pairs(plan) == [(5, 0.01)]
    assert plan.described()["lr"] == 0.01


def test_an_option_leaves_one_value_on_its_axis(planned: Callable[..., finetune.Plan]):
    assert pairs(planned("lr=0.02")) == [(300, 0.02), (1000, 0.02)]
    assert pairs(planned("lr=0.02", "epochs=7")) == [(7, 0.02)]
    plan = planned("held_out=0.1", "batch_size=100", train_size=1000)
    assert (plan.held_out, plan.train_size) == (0.1, 1000)
    assert {candidate.batch_size for candidate in plan.candidates} == {100}


@pytest.mark.parametrize("option", ["held_out=2", "held_out=x", "grids=1", "lr=-1"])
def test_an_option_that_is_none(option: str, planned: Callable[..., finetune.Plan]):
    with pytest.raises(InputError):
        planned(option)


@pytest.fixture
def grid(tiny_protocol: Config) -> Config:
    """A grid of learning rates: one learns nothing, one learns, one diverges."""
    tiny_protocol.finetune.update(
        epochs=1, batch_size=8 / 768, lr=1, grid=dict(lr=(1e-9, 0.02, 1e30), epochs=(1, 2))
    )
    return tiny_protocol


def run(data_root: Path, runs: Path, *more: str, mode: str = "finetune") -> int:
    words = ["probe", "--mode", mode, "--backbone", f"random:{ARCH}", "--workers", "0"]
    where = ["--dataset", "cifar10", "--data", str(data_root), "--runs", str(runs)]
    return main([*words, *where, *more])


def spied(monkeypatch: pytest.MonkeyPatch) -> list[loop.Job]:
    jobs: list[loop.Job] = []
    original = loop.fit
    monkeypatch.setattr(loop, "fit", lambda job: jobs.append(job) or original(job))
    return jobs


@pytest.mark.usefixtures("grid")
def test_the_choice_is_made_on_a_part_of_the_training_set(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    jobs = spied(monkeypatch)
    options = ["--cfg-options", "warmup_epochs=0"]
    assert run(data_root, tmp_path, *options) == 0
    (path,) = tmp_path.glob("demo/finetune-cifar10-*/*/seed0/record.json")
    found = record.read(path)
    whole, test = (datasets.load("demo/cifar10", data_root, role) for role in ("train", "test"))
    trials, last = jobs[:-1], jobs[-1]
    assert [(job.recipe.epochs, job.recipe.lr) for job in trials] == [
        (e, lr) for e in (1, 2) for lr in (1e-9, 0.02, 1e30)
    ]
    for job in trials:  # no trial uses the test set, nor is it scored on its own training data
        assert len(job.train) + len(job.test) == len(whole)
        assert set(job.test.labels) == set(whole.labels)
        seen = {p.tobytes() for p in job.train.pixels}
        assert not seen & {p.tobytes() for p in job.test.pixels}
        assert not {p.tobytes() for p in test.pixels} & {p.tobytes() for p in job.test.pixels}
    assert len(last.train) == len(whole)
    assert last.test.split == "test"
    scores = found.chosen["held_out_top1"]
    assert list(scores) == [f"epochs{e}-lr{lr:g}" for e in (1, 2) for lr in (1e-9, 0.02, 1e30)]
    assert scores["epochs1-lr1e+30"] is None, "its loss was not finite"
    best = max(score for score in scores.values() if score is not None)
    first = next(name for name, score in scores.items() if score == best)
    assert f"epochs{last.recipe.epochs:g}-lr{last.recipe.lr:g}" == first
    assert (found.chosen["epochs"], found.chosen["lr"]) == (last.recipe.epochs, last.recipe.lr)
    assert found.metrics["top1"].samples == len(test)
    assert not (path.parent / "trials").exists()


@pytest.mark.usefixtures("grid")
def test_an_interrupted_run_resumes_at_its_trial(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    options = ["--cfg-options", "warmup_epochs=0", "epochs=1"]
    assert run(data_root, tmp_path / "whole", *options) == 0
    original, began = loop.fit, []

    def stopped(job: loop.Job) -> loop.Outcome:
        if len(began) == 1:
            raise Interrupted("stopped")
        began.append(job)
        return original(job)

    monkeypatch.setattr(loop, "fit", stopped)
    assert run(data_root, tmp_path / "cut", *options) == 75
    steps: list[int] = []
    monkeypatch.setattr(loop, "fit", original)
    train_step = loop.Trainer.train_step
    monkeypatch.setattr(
        loop.Trainer, "train_step", lambda self, b: steps.append(1) or train_step(self, b)
    )
    assert run(data_root, tmp_path / "cut", *options) == 0
    whole, cut = (
        record.read(next((tmp_path / name).glob("demo/finetune*/*/seed0/record.json")))
        for name in ("whole", "cut")
    )
    assert cut.metrics == whole.metrics
    assert cut.chosen == whole.chosen
    # the first trial's 30 // 8 steps are not repeated: the second's, the diverging, the last run's
    assert 3 + 1 + 5 <= len(steps) <= 3 + 3 + 5


@pytest.mark.usefixtures("grid")
def test_rates_that_all_diverge_are_an_error(
    data_root: Path, tmp_path: Path, one_line: Callable[[], str], grid: Config
):
    grid.finetune.grid.lr = (1e30, 1e31)
    assert run(data_root, tmp_path, "--cfg-options", "warmup_epochs=0", "epochs=1") == 2
    assert "no trial had a finite loss" in one_line()


@pytest.mark.usefixtures("tiny_protocol")
def test_a_few_shot_run(data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    jobs = spied(monkeypatch)
    options = ["--cfg-options", *SMALL, "epochs=1"]
    assert run(data_root, tmp_path, "--train-size", "20", *options) == 0
    (path,) = tmp_path.glob("demo/*/*/seed0/record.json")
    task = "finetune-cifar10-train20-base_batch_size-8-batch_size-8-epochs-1-warmup_epochs-0"
    assert path.parts[-4] == task
    counts = np.unique_counts(jobs[-1].train.labels).counts
    assert counts.max() - counts.min() <= 1
    found = record.read(path)
    assert found.config["train_size"] == 20
    assert found.dataset.sizes == {"train": 20, "test": 20}


def test_trials_differ_in_their_folders(planned: Callable[..., finetune.Plan]):
    candidates = planned().candidates
    assert len({finetune.trial_name(c) for c in candidates}) == len(candidates)
    assert finetune.trial_name(replace(candidates[0], lr=0.5, epochs=2.5)) == "epochs2.5-lr0.5"
    assert file_name(finetune.trial_name(candidates[0])) == finetune.trial_name(candidates[0])


# ---- the classifier alone


def test_the_sgd_probe_trains_the_classifier_and_nothing_else(
    data_root: Path, tmp_path: Path, tiny_protocol: Config, monkeypatch: pytest.MonkeyPatch
):
    tiny_protocol.linear_sgd.update(
        epochs=1 / 50, batch_size=8 / 256, lr=1, grid=dict(lr=(0.1,), epochs=(100,))
    )
    outcomes = []
    original = loop.fit

    def fit(job: loop.Job) -> loop.Outcome:
        outcomes.append((job, original(job)))
        return outcomes[-1][1]

    monkeypatch.setattr(loop, "fit", fit)

    assert run(data_root, tmp_path, mode="linear-sgd") == 0

    ((job, outcome),) = outcomes
    before = build(job).state_dict()
    changed = {name for name, it in outcome.tensors.items() if not torch.equal(it, before[name])}
    assert changed == {"fc.weight", "fc.bias"}, "running statistics stay too"
    assert job.recipe.epochs == 2
    assert (job.recipe.weight_decay, job.recipe.label_smoothing) == (0, 0)
    path = tmp_path / f"demo/linear-sgd-cifar10/random-{ARCH}/seed0/record.json"
    assert record.read(path).stage == "linear-sgd"
