"""Where curves go besides TensorBoard: Weights & Biases and MLflow, through mmengine's backends.

A run that goes on after an interruption goes on in the same run of Weights & Biases; MLflow begins
another one. Where they write is theirs to say, by WANDB_MODE, MLFLOW_TRACKING_URI and their others.
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

PACKAGES = {"wandb": "wandb", "mlflow": "mlflow"}  # what each is imported as
PROJECT = "trickbench"
STEP = "train/step"


class PlainConfig(Config):
    """A config whose text is not laid out by yapf, which mmengine does five times a run.

    That takes longer than a small run does; and of two processes that start together on a new
    machine, one may read the other's half-written cache of yapf's grammar, and crash.
    """

    @property
    def pretty_text(self) -> str:
        """Python that `Config.fromfile` reads."""
        return "\n".join(f"{key} = {pformat(value)}" for key, value in self.to_dict().items())


def check(trackers: Sequence[str]) -> None:
    """Before anything is trained.

    Raises:
        InputError: a tracker is not installed.
    """
    for name in trackers:
        if importlib.util.find_spec(PACKAGES[name]) is None:
            raise InputError(f"--track {name}: it is not installed: pip install {PACKAGES[name]}")


def backends(trackers: Sequence[str], out: Path, step: str) -> list[dict[str, Any]]:
    """mmengine's configs of trackers, for a Runner's visualizer or for `Tracker`.

    Args:
        step: the scalar that counts, along which curves are drawn.
        out: the run's folder, whose last four parts are the run's name; MLflow's own store is
            `mlflow.db` above them.
    """
    name = "/".join(out.parts[-4:])
    mark = out / "identity"  # the same run goes on; one of other settings is another
    identity = mark.read_text()[:12] if mark.is_file() else "unknown"
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
    """The backends of a training loop of ours; in all processes but the first it does nothing."""

    def __init__(self, trackers: Sequence[str], out: Path, config: Mapping[str, Any]) -> None:
        self.backends = []
        if not trackers or distributed.rank() != 0:
            return
        from mmengine.visualization import vis_backend  # imports OpenCV

        whole = PlainConfig({**config, "work_dir": str(out)})
        for found in backends(trackers, out, STEP):
            kind = getattr(vis_backend, found.pop("type"))
            backend = kind(save_dir=str(out / "tracking"), **found)
            backend.add_config(whole)
            self.backends.append(backend)

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        for backend in self.backends:
            backend.add_scalars({**scalars, STEP: step}, step)

    def close(self) -> None:
        for backend in self.backends:
            backend.close()
