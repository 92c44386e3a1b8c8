"""Curves in Weights & Biases and MLflow, neither of which is installed here."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.visualization import vis_backend

from core.errors import InputError
from core.runtime import tracking
from pretrain import recipe
from pretrain.training import loop

KINDS = (vis_backend.WandbVisBackend, vis_backend.MLflowVisBackend)


def _accepts(kind: type, arguments: dict[str, Any]) -> bool:
    """Whether mmengine's own backend accepts these arguments."""
    try:
        inspect.signature(kind).bind(**arguments)
    except TypeError:
        return False
    return True


class Recorder:
    """Replaces one of mmengine's backends."""

    made: list[Recorder]

    def __init__(self, **arguments: Any) -> None:
        assert any(_accepts(kind, arguments) for kind in KINDS)
        self.config: Config | None = None
        self.scalars: list[tuple[dict[str, float], int]] = []
        self.closed = False
        self.made.append(self)

    def add_config(self, config: Config) -> None:
        self.config = config

    def add_scalars(self, scalars: dict[str, float], step: int) -> None:
        self.scalars.append((scalars, step))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    monkeypatch.setattr(Recorder, "made", [], raising=False)
    for name in ("WandbVisBackend", "MLflowVisBackend"):
        monkeypatch.setattr(vis_backend, name, Recorder)
    return Recorder.made


def test_a_trainings_curves(
    make_job: Callable[..., loop.Job], tiny_recipe: recipe.Recipe, made: list[Recorder]
) -> None:
    job = make_job(replace(tiny_recipe, epochs=2), track=("wandb", "mlflow"))
    loop.fit(job)

    assert len(made) == 2
    for backend in made:
        assert backend.closed
        assert backend.config is not None
        assert backend.config.lr == tiny_recipe.lr
        history = json.loads((job.out / "history.json").read_text())
        assert [step for _, step in backend.scalars] == [entry["step"] for entry in history]
        for (scalars, _), entry in zip(backend.scalars, history, strict=True):
            assert scalars["eval/top1"] == entry["top1"]
            assert scalars["train/loss"] == entry["loss"]
            assert scalars["train/step"] == entry["step"]


def test_none_is_asked_for(
    make_job: Callable[..., loop.Job], tiny_recipe: recipe.Recipe, made: list[Recorder]
) -> None:
    loop.fit(make_job(replace(tiny_recipe, epochs=1)))
    assert made == []


def test_a_run_goes_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    out = tmp_path / "runs/mini/detect/best/seed0"
    out.mkdir(parents=True)
    (out / "identity").write_text("0123456789abcdef" * 4)
    wandb, mlflow = tracking.backends(("wandb", "mlflow"), out, "iter")
    assert wandb["init_kwargs"]["name"] == mlflow["run_name"] == "mini/detect/best/seed0"
    assert wandb["init_kwargs"]["id"] == "mini_detect_best_seed0-0123456789ab"
    assert wandb["define_metric_cfg"] == [{"name": "*", "step_metric": "iter"}]
    assert mlflow["tracking_uri"] == f"sqlite:///{tmp_path / 'runs/mlflow.db'}"
    for found in (wandb, mlflow):
        assert hasattr(vis_backend, found["type"])

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    assert tracking.backends(("mlflow",), out, "iter")[0]["tracking_uri"] == "http://tracker:5000"


def test_a_tracker_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tracking.PACKAGES, "wandb", "no_such_package_as_this")
    with pytest.raises(InputError, match="--track wandb: it is not installed: pip install"):
        tracking.check(("wandb",))
