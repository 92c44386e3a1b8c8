"""One downstream run: a task on a backbone, and its record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import record
from core.execution import Run
from downstream.backbones.timm_features import Loaded
from pretrain.model import complexity


@dataclass(frozen=True, kw_only=True)
class DownstreamRun(Run):
    """A run on the backbone of an exchange file.

    Attributes:
        source: the backbone's name in the record: "recipe:best", "random:resnet50d", "file:..."
        exchange: the exchange file with its weights.
        dataset: name of a config in configs/data; "" if `choices.images` names a folder.
        predictions: where `evaluate` writes the file for a test server.
    """

    source: str
    exchange: Path
    dataset: str
    predictions: Path | None = None


def finish(
    run: DownstreamRun,
    loaded: Loaded,
    left_out: list[str],
    *,
    cost: record.Cost,
    sha256_in_model: str | None = None,
    **measured: Any,
) -> None:
    """Calls `Run.finish`, adding the loaded backbone and its complexity.

    Args:
        left_out: names of the checkpoint's tensors that the task does not use.
    """
    about = loaded.about
    run.finish(
        backbone=record.Backbone(
            source=run.source,
            architecture=about.architecture,
            pretrained=about.pretrained,
            sha256=loaded.sha256,
            sha256_in_model=sha256_in_model,
            tensors_loaded=len(loaded.model.state_dict()) - len(left_out),
            tensors_left_out=left_out,
            record_sha256=about.record_sha256 or None,
        ),
        cost=complexity.sized(cost, about.architecture, about.classes, about.resolution),
        **measured,
    )


def to_json(value: Any) -> Any:
    """A config as values that JSON can hold."""
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)


def without_paths(value: Any) -> Any:
    """Settings without the paths of data and weights, which are identified by their hashes."""
    if isinstance(value, dict):
        return {
            k: without_paths(v) for k, v in value.items() if k not in ("checkpoint", "data_root")
        }
    if isinstance(value, list):
        return [without_paths(v) for v in value]
    return value
