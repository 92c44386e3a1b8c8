"""A valid record, and a way to make others from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from results import figures, record, report, store
from results.figures.drawing import Material, Plot
from results.papers import TABLES
from results.record import Backbone, Cost, Dataset, Git, Metric, Record


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
        "cost": Cost(
            wall_s=2.0,
            samples_per_s=240.0,
            peak_memory_mb=100.0,
            device="cpu",
            devices=1,
            precision="fp32",
            device_hours=0.001,
        ),
        "versions": {"python": "3.12"},
        "git": Git(commit="c" * 40, clean=clean),
        "started": datetime(2025, 1, 1, 12, 0, 0, tzinfo=UTC),
        "finished": datetime(2025, 1, 1, 12, 0, 2, tzinfo=UTC),
    } | fields
    return Record(**({"task": chosen["stage"]} | chosen))


@pytest.fixture(scope="session")
def make() -> Callable[..., Record]:
    return make_record


@pytest.fixture
def material() -> Callable[..., Material]:
    """Records written where their runs would be, for figures."""

    def keep(runs: Path, *records: Record, data: Path | None = None) -> Material:
        by_file = {}
        for run in records:
            folder = record.run_folder(runs, run.protocol, run.task, run.recipe, run.seed)
            record.write(run, folder / "record.json")
            by_file[folder / "record.json"] = run
        return Material("demo", by_file, data)

    return keep


@pytest.fixture
def with_history() -> Callable[[Material], Material]:
    """Puts four epochs beside each record: top-1 rises evenly, the loss is 4 / epoch."""

    def train(found: Material) -> Material:
        for path, run in found.records.items():
            top1 = run.metrics["top1"].value
            history = [
                {"epoch": e, "loss": 4.0 / e, "top1": top1 * e / 4, "samples": 120}
                for e in range(1, 5)
            ]
            path.with_name("history.json").write_text(json.dumps(history))
        return found

    return train


@pytest.fixture
def lines() -> Callable[..., dict[str, np.ndarray]]:
    """The points [n, 2] of the named lines of a figure's first axes."""

    def of(plot: Plot) -> dict[str, np.ndarray]:
        named = {str(line.get_label()): line for line in plot.figure.axes[0].lines}
        return {
            name: np.array(line.get_xydata())
            for name, line in named.items()
            if not name.startswith("_")
        }

    return of


MARKUP = "--><img src=x onerror=alert(1)>"


def fill(runs: Path, make: Callable[..., Record]) -> None:
    """Records of four backbones, one with two seeds and one with markup wherever text can be."""
    backbones = (("best", 76.0, 46.0), ("d-efficient", 33.0, 48.0), ("cosine", 50.0, 9.5))
    for recipe, top1, score in backbones:
        for seed in range(2 if recipe == "best" else 1):
            run = make(recipe=recipe, seed=seed, values={"top1": top1 + seed})
            source = record.run_folder(runs, "demo", run.task, recipe, seed) / "record.json"
            record.write(run, source)
            detect = make(
                stage="detect", recipe=recipe, seed=seed, mirrors="voc", values={"map": score}
            )
            known = {"record_sha256": record.sha256_of(source)}
            backbone = detect.backbone.model_copy(update=known)
            keep(runs, detect.model_copy(update={"backbone": backbone}))
    keep(runs, make(recipe=MARKUP, values={"top1": 20.0}))
    keep(
        runs,
        make(
            stage="detect",
            recipe=MARKUP,
            mirrors="voc",
            values={"map": 12.0},
            source="file:<script>alert(2)</script>",
            detail="</script><script>alert(3)</script>",
            config={"</pre><script>alert(4)</script>": "<b>"},
            versions={"<i>": '" onmouseover="alert(5)'},
        ),
    )


def keep(runs: Path, run: Record) -> None:
    folder = record.run_folder(runs, run.protocol, run.task, run.recipe, run.seed)
    record.write(run, folder / "record.json")


def html_of(runs: Path, protocol: str = "demo") -> str:
    """The page of records below a folder, with three of the figures."""
    records, skipped = store.by_file(runs, protocol)
    material = Material(protocol, records)
    drawn = [figures.draw(name, material) for name in ("learning-rate", "seeds", "transfer")]
    return report.page(material, TABLES, drawn, runs, skipped)


@pytest.fixture(scope="session")
def report_runs(make: Callable[..., Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    fill(folder, make)
    return folder


@pytest.fixture(scope="session")
def report_page(report_runs: Path) -> str:
    return html_of(report_runs)


@pytest.fixture(scope="session")
def page_of() -> Callable[..., str]:
    return html_of


@pytest.fixture(scope="session")
def markup() -> str:
    """The name of a backbone on the page that must stay a name."""
    return MARKUP
