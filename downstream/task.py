"""One downstream run, and its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core import record
from core.files import sha256_of
from downstream.backbones.timm_features import Loaded
from pretrain.model import complexity


@dataclass(frozen=True)
class Task:
    """One downstream run: what is measured on which backbone, and where it is kept.

    Attributes:
        stage: what a record calls it: one of results.record.Stage but "pretrain".
        name: the stage with its choices, the folder of its records.
        label: the backbone's row: a recipe's name or a specification made a file name.
        source: the backbone as the user named it.
        exchange: the file of its weights.
        track: where its curves go besides TensorBoard: "wandb", "mlflow".
    """

    stage: record.Stage
    name: str
    label: str
    source: str
    exchange: Path
    protocol: str
    seed: int
    out: Path
    track: tuple[str, ...] = ()


def write_record(
    task: Task,
    dataset: record.Dataset,
    loaded: Loaded,
    left_out: list[str],
    settings: dict[str, Any],
    metrics: dict[str, record.Metric],
    cost: record.Cost,
    started: datetime,
    chosen: dict[str, Any] | None = None,
    sha256_in_model: str | None = None,
    outputs: Sequence[Path] = (),
) -> None:
    """The record of a finished downstream run, and a line that says what was measured.

    Args:
        left_out: names of the checkpoint's tensors that the task does not use.
        outputs: files beside the record, which names them and their hash.
    """
    about = loaded.about
    finished = record.Record(
        stage=task.stage,
        task=task.name,
        recipe=task.label,
        protocol=task.protocol,
        seed=task.seed,
        dataset=dataset,
        backbone=record.Backbone(
            source=task.source,
            architecture=loaded.about.architecture,
            pretrained=loaded.about.pretrained,
            sha256=loaded.sha256,
            sha256_in_model=sha256_in_model,
            tensors_loaded=len(loaded.model.state_dict()) - len(left_out),
            tensors_left_out=left_out,
            record_sha256=loaded.about.record_sha256 or None,
        ),
        metrics=metrics,
        config=settings,
        chosen=chosen or {},
        outputs={path.name: sha256_of(path) for path in outputs},
        cost=complexity.sized(cost, about.architecture, about.classes, about.resolution),
        versions=record.versions(),
        git=record.git_state(Path(__file__).parent),
        started=started,
        finished=datetime.now(UTC),
    )
    record.write(finished, task.out / "record.json")
    # of an evaluation at many resolutions only the checkpoint's own; its table has the others
    own = {name: metric for name, metric in metrics.items() if "@" not in name} or metrics
    numbers = ", ".join(f"{name} {metric.value:.2f} %" for name, metric in own.items())
    first = next(iter(metrics.values()))
    print(
        f"{task.name} with {task.label} ({loaded.about.architecture}), {task.protocol} protocol: "
        f"{numbers} on {first.samples} {first.split} images of {dataset.name}"
    )


def plain(value: Any) -> Any:
    """A config as JSON-like values."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)


def without_paths(value: Any) -> Any:
    """Settings without the places of data and weights, whose contents are hashed on their own."""
    if isinstance(value, dict):
        return {
            k: without_paths(v) for k, v in value.items() if k not in ("checkpoint", "data_root")
        }
    if isinstance(value, list):
        return [without_paths(v) for v in value]
    return value
