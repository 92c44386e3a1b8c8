"""Training curves in Weights & Biases and MLflow, through mmengine's backends.

A resumed run continues its run in Weights & Biases; in MLflow it starts a new one. Both are
configured by their own environment variables (WANDB_MODE, MLFLOW_TRACKING_URI, ...).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from pprint import pformat
from typing import Any

from mmengine.config import Config

from core import files
from core.errors import InputError
from core.runtime import distributed

PACKAGES = {"wandb": "wandb", "mlflow": "mlflow"}  # tracker: its Python package
PROJECT = "trickbench"
STEP = "train/step"


class PlainConfig(Config):
    """A config that is printed without yapf, which mmengine calls five times a run.

    yapf takes longer than a small run. And when two processes start together on a new machine, one
    may read the other's half-written cache of yapf's grammar and crash.
    """

    @property
    def pretty_text(self) -> str:
        """Python code that `Config.fromfile` can read."""
        return "\n".join(f"{key} = {pformat(value)}" for key, value in self.to_dict().items())


def check(trackers: Sequence[str]) -> None:
    """Checks the user's trackers before training starts.

    Raises:
        InputError: a tracker is not installed.
    """
    for name in trackers:
        if importlib.util.find_spec(PACKAGES[name]) is None:
            raise InputError(f"--track {name}: it is not installed: pip install {PACKAGES[name]}")


def backends(trackers: Sequence[str], out: Path, step: str) -> list[dict[str, Any]]:
    """The trackers' backends as mmengine configs, for a Runner's visualizer or for `Tracker`.

    Args:
        out: the run directory. Its last four parts are the run's name; MLflow's database is
            `mlflow.db` in the folder above them.
        step: the scalar for the x-axis of all curves.
    """
    name = "/".join(out.parts[-4:])
    file = out / "identity"  # the hash of the run's settings: other settings are another run
    identity = file.read_text()[:12] if file.is_file() else "unknown"
    known: dict[str, dict[str, Any]] = {
        "wandb": dict(
            type="WandbVisBackend",
            init_kwargs=dict(
                project=PROJECT,
                name=name,
                id=f"{files.file_name(name.replace('/', '_'))}-{identity}",
                resume="allow",
                allow_val_change=True,
            ),
            define_metric_cfg=[dict(name="*", step_metric=step)],
        ),
        "mlflow": dict(
            type="MLflowVisBackend",
            exp_name=PROJECT,
            run_name=name,
            tracking_uri=os.environ.get(
                "MLFLOW_TRACKING_URI", f"sqlite:///{out.parents[3].resolve() / 'mlflow.db'}"
            ),
        ),
    }
    return [known[tracker] for tracker in trackers]


class Tracker:
    """Writes the curves of our own training loop; does nothing except in the first process."""

    def __init__(self, trackers: Sequence[str], out: Path, config: Mapping[str, Any]) -> None:
        self.backends = []
        if not trackers or distributed.rank() != 0:
            return
        from mmengine.visualization import vis_backend  # imports OpenCV

        full_config = PlainConfig({**config, "work_dir": str(out)})
        for settings in backends(trackers, out, STEP):
            kind = getattr(vis_backend, settings.pop("type"))
            backend = kind(save_dir=str(out / "tracking"), **settings)
            backend.add_config(full_config)
            self.backends.append(backend)

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        for backend in self.backends:
            backend.add_scalars({**scalars, STEP: step}, step)

    def close(self) -> None:
        for backend in self.backends:
            backend.close()
