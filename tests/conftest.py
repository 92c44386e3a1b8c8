"""A valid record, and a way to make others from it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest

from core.choices import of_schema_1
from core.exchange import Exchange
from core.record import Backbone, Cost, Dataset, Git, Metric, Record

COST = Cost(
    wall_s=2.0,
    samples_per_s=240.0,
    peak_memory_mb=100.0,
    device="cpu",
    devices=1,
    precision="fp32",
    device_hours=0.001,
)
STARTED = datetime(2025, 1, 1, 12, 0, 0, tzinfo=UTC)


def make_record(
    *,
    values: dict[str, float] | None = None,
    mirrors: str = "imagenet",
    source: str | None = None,
    samples: int = 120,
    split: str = "val",
    detail: str = "",
    unit: Literal["%", "loss", "1", "score"] = "%",
    fingerprint: str = "a" * 64,
    clean: bool | None = True,
    **fields: Any,
) -> Record:
    """A record of `demo/pretrain/best/seed0`, changed in what is given."""
    recipe = fields.get("recipe", "best")
    seed = fields.get("seed", 0)
    chosen = {
        "stage": "pretrain",
        "recipe": recipe,
        "protocol": "demo",
        "seed": seed,
        "dataset": Dataset(
            name=f"demo-{mirrors}",
            mirrors=mirrors,
            fingerprint=fingerprint,
            sizes={"train": 480, split: samples},
            classes=8,
        ),
        "backbone": Backbone(
            source=source or f"recipe:{recipe}",
            architecture="resnet50d",
            pretrained=True,
            sha256="b" * 64,
        ),
        "metrics": {
            name: Metric(value=value, unit=unit, split=split, samples=samples, detail=detail)
            for name, value in (values or {"top1": 50.0}).items()
        },
        "config": {
            "lr": 0.1,
            "seed": seed,
            "work_dir": f"runs/demo/pretrain/{recipe}/seed{seed}",
        },
        "cost": COST,
        "versions": {"python": "3.12"},
        "git": Git(commit="c" * 40, clean=clean),
        "started": STARTED,
        "finished": STARTED + timedelta(seconds=2),
    } | fields
    return Record(**with_choices({"task": chosen["stage"]} | chosen))


def with_choices(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of a record with the choices that its names tell, if it has none."""
    if "choices" in fields:
        return fields
    plain = {name: fields[name].model_dump() for name in ("backbone", "dataset")}
    return fields | {"choices": of_schema_1(fields | plain)}


@pytest.fixture(scope="session")
def make() -> Callable[..., Record]:
    return make_record


@pytest.fixture(scope="session")
def make_about() -> Callable[..., Exchange]:
    """Metadata of an exchange file, changed in what is given."""

    def make(**changes: Any) -> Exchange:
        about = dict(
            architecture="resnet50d",
            classes=8,
            mean=(0.5, 0.5, 0.5),
            std=(0.2, 0.2, 0.2),
            resolution=64,
            crop_ratio=0.875,
            interpolation="bilinear",
            pretrained=True,
            recipe="best",
            protocol="demo",
            seed=0,
            dataset="demo/imagenet",
            record_sha256="",
        )
        return Exchange(**about | changes)

    return make
