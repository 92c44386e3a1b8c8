"""Transferability scores against fine-tuning: the points used, and SciPy's coefficients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from scipy import stats

from core.record import Record, RecordError
from results.__main__ import main
from results.analysis import transferability
from results.tables.index import Index

Make = Callable[..., Record]
Write = Callable[..., Path]
TUNED = {"a": 70.0, "b": 72.0, "c": 74.0, "d": 71.0, "file-x": 78.0}
LOGME = {"a": 0.1, "b": 0.3, "c": 0.2, "d": 0.15, "file-x": 0.5}
SOURCE = {"a": 60.0, "b": 61.0, "c": 62.0, "d": 63.0}  # file-x is an external checkpoint


@pytest.fixture
def runs(make: Make) -> list[Record]:
    def probe(stage: str, recipe: str, **fields: object) -> Record:
        return make(
            stage=stage, task=f"{stage}-cifar10", mirrors="cifar10", recipe=recipe, **fields
        )

    found = [make(recipe=name, values={"top1": top1}) for name, top1 in SOURCE.items()]
    for name, top1 in TUNED.items():
        for seed, shift in ((0, -1.0), (1, 1.0)):
            values = {"top1": top1 + shift}
            found.append(probe("finetune", name, values=values, seed=seed))
        values = {"logme": LOGME[name]}
        found.append(probe("transferability", name, values=values, unit="score"))
    # scored, and not fine-tuned: no point
    found.append(probe("transferability", "e", values={"logme": 9.0}, unit="score"))
    return found


def test_the_coefficients_are_scipys_over_means_of_seeds(runs: list[Record]) -> None:
    shown = transferability.grid(Index(runs), count=200)
    lines = {line[0]: dict(zip(shown.head, line, strict=True)) for line in shown.lines}
    names = {"finetune-cifar10: source top-1": SOURCE}
    names["finetune-cifar10: transferability-cifar10 logme"] = LOGME
    assert lines.keys() == names.keys()
    for name, scores in names.items():
        x, y = list(scores.values()), [TUNED[backbone] for backbone in scores]
        assert lines[name]["backbones (demo)"] == str(len(x))
        for kind, of in (("Spearman", stats.spearmanr), ("Kendall", stats.kendalltau)):
            found = float(lines[name][f"{kind} (demo)"].partition(" [")[0])
            assert found == pytest.approx(of(x, y).statistic, abs=0.005)


def test_nothing_to_correlate(make: Make) -> None:
    with pytest.raises(RecordError, match="MODE=finetune"):
        transferability.grid(Index([make()]))


def test_the_command(
    runs: list[Record], write_record: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in runs:
        write_record(tmp_path, run)
    words = ["transfer", "--protocol", "demo", "--runs", str(tmp_path)]
    assert main([*words, "--scores"]) == 0
    shown = capsys.readouterr().out
    assert "Transferability scores against fine-tuning (protocol demo)" in shown
    assert "transferability-cifar10 logme" in shown
