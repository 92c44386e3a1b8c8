"""Writes records to run directories, and builds figures and the report page from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core import files, record
from core.record import Record
from core.runs import run_folder
from results import figures
from results.figures.drawing import FigureInputs, Plot
from results.papers.tables import TABLES
from results.report import page
from results.store import query


def write(runs: Path, run: Record, attempt: str = "") -> Path:
    """Writes a record to its run directory; returns its file."""
    folder = run_folder(runs, run.protocol, run.task, run.recipe, run.seed)
    path = folder.with_name(folder.name + attempt) / "record.json"
    record.write(run, path)
    return path


@pytest.fixture(scope="session")
def write_record() -> Callable[..., Path]:
    return write


@pytest.fixture
def inputs() -> Callable[..., FigureInputs]:
    """Writes records to their run directories; returns the inputs of figures."""

    def write_all(runs: Path, *records: Record, data: Path | None = None) -> FigureInputs:
        return FigureInputs("demo", {write(runs, run): run for run in records}, data)

    return write_all


def named(found: FigureInputs, name: str) -> FigureInputs:
    """The same inputs; each record lists the hash of the named file beside it."""
    records = {
        path: run.model_copy(
            update={"outputs": run.outputs | {name: files.sha256_of(path.with_name(name))}}
        )
        for path, run in found.records.items()
    }
    return FigureInputs(found.protocol, records, found.data)


@pytest.fixture
def with_outputs() -> Callable[[FigureInputs, str], FigureInputs]:
    return named


@pytest.fixture
def with_history() -> Callable[[FigureInputs], FigureInputs]:
    """Writes a history of four epochs of two steps: top-1 rises linearly, the loss is 4 / epoch.

    The learning rate of step s is 1 / (1 + s).
    """

    def train(found: FigureInputs) -> FigureInputs:
        for path, run in found.records.items():
            top1 = run.metrics["top1"].value
            history = [
                {"epoch": e, "loss": 4.0 / e, "top1": top1 * e / 4, "samples": 120}
                | {"learning_rates": [[s / 2, 1 / (1 + s)] for s in (2 * e - 2, 2 * e - 1)]}
                for e in range(1, 5)
            ]
            path.with_name("history.json").write_text(json.dumps(history))
        return named(found, "history.json")

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
    """Records of four backbones, one with two seeds and one with markup in every text field."""
    backbones = (("best", 76.0, 46.0), ("d-efficient", 33.0, 48.0), ("cosine", 50.0, 9.5))
    for recipe, top1, score in backbones:
        for seed in range(2 if recipe == "best" else 1):
            run = make(recipe=recipe, seed=seed, values={"top1": top1 + seed})
            source = write(runs, run)
            detect = make(
                stage="detect", recipe=recipe, seed=seed, mirrors="voc", values={"map": score}
            )
            known = {"record_sha256": files.sha256_of(source)}
            backbone = detect.backbone.model_copy(update=known)
            write(runs, detect.model_copy(update={"backbone": backbone}))
    write(runs, make(recipe=MARKUP, values={"top1": 20.0}))
    write(
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


def html_of(runs: Path, protocol: str = "demo") -> str:
    """The page of the records below a folder, with three figures."""
    records, skipped = query.by_file(runs, protocol)
    inputs = FigureInputs(protocol, records)
    drawn = [figures.draw(name, inputs) for name in ("smoothing-gap", "seeds", "transfer")]
    return page.page(inputs, TABLES, drawn, runs, skipped)


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
    """The name of a backbone that the page must escape."""
    return MARKUP
