"""Source against downstream accuracy: the points used, and SciPy's coefficients."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest
from scipy import stats

from core.record import Backbone, Record, RecordError
from results.__main__ import main
from results.analysis import transfer
from results.papers import published
from results.tables.grid import Grid
from results.tables.index import Index

Make = Callable[..., Record]
Write = Callable[..., Path]
FIGURES = published.load()
TOP1 = {"a": 60.0, "b": 62.0, "c": 64.0, "d": 66.0, "e": 68.0, "f": 70.0}
MAP = {"a": 40.0, "b": 43.0, "c": 42.0, "d": 45.0, "e": 44.0, "f": 47.0}


@pytest.fixture
def runs(make: Make) -> list[Record]:
    """Six backbones with two seeds of detection, whose mean is MAP's, and random weights."""
    found = []
    for recipe, top1 in TOP1.items():
        found.append(make(recipe=recipe, values={"top1": top1}))
        for seed, shift in ((0, -3.0), (1, 3.0)):
            values = {"map": MAP[recipe] + shift}
            found.append(
                make(recipe=recipe, stage="detect", mirrors="voc", values=values, seed=seed)
            )
    untrained = Backbone(
        source="random:resnet50d", architecture="resnet50d", pretrained=False, sha256="d" * 64
    )
    found.append(
        make(
            recipe="random-resnet50d",
            stage="detect",
            mirrors="voc",
            values={"map": 90.0},
            backbone=untrained,
        )
    )
    return found


def cells(shown: Grid, name: str) -> dict[str, str]:
    (line,) = (line for line in shown.lines if line[0] == name)
    return dict(zip(shown.head, line, strict=True))


def test_ours_are_scipys_over_means_of_seeds(runs: list[Record]) -> None:
    shown = transfer.grid(Index(runs), FIGURES, count=500)
    line = cells(shown, "detect map")
    x, y = list(TOP1.values()), list(MAP.values())
    assert line["backbones (demo)"] == "6"
    for kind, of in (("Spearman", stats.spearmanr), ("Kendall", stats.kendalltau)):
        assert line[f"{kind} (demo)"].startswith(f"{of(x, y).statistic:.2f} [")
    assert len(set(shown.head)) == len(shown.head)
    # rho's p-value in SciPy is an approximation, so all orders of the six; tau's is exact
    rhos = [stats.spearmanr(x, order).statistic for order in permutations(y)]
    far = abs(stats.spearmanr(x, y).statistic) - 1e-9
    exact = {
        "Spearman": sum(abs(rho) >= far for rho in rhos) / 720,
        "Kendall": stats.kendalltau(x, y, method="exact").pvalue,
    }
    for kind, p in exact.items():
        assert line[f"{kind} p (Holm, demo)"] == f"{p:.4f}"


def test_published_are_the_papers(runs: list[Record]) -> None:
    shown = transfer.grid(Index(runs), FIGURES, count=500)
    detect, segment = cells(shown, "detect map"), cells(shown, "segment miou")
    assert detect["Spearman (published)"] == "1.00 [1.00, 1.00]"
    rows = FIGURES["bag-of-tricks/9"].rows.values()
    expected = stats.kendalltau([row[0] for row in rows], [row[2] for row in rows]).statistic
    assert segment["Kendall (published)"].startswith(f"{expected:.2f} [")
    assert segment["backbones (demo)"] == "-"


def test_holm_is_over_the_metrics_of_a_side() -> None:
    x = [1.0, 2.0, 3.0, 4.0, 5.0]
    named = {
        name: dict(zip("abcde", zip(x, y, strict=True), strict=True))
        for name, y in (("one", x), ("two", x[::-1]))
    }
    lines = transfer.correlate(named, 200)
    assert lines["one"].found["Kendall"].p == pytest.approx(2 / 120)  # type: ignore[union-attr]
    assert lines["one"].corrected["Kendall"] == pytest.approx(4 / 120)


def test_the_smallest_p_is_not_0() -> None:
    perfect = {str(i): (float(i), float(i)) for i in range(8)}  # 2 of 40,320 orders
    line = transfer.correlate({"one": perfect})["one"]
    assert transfer.cells_of(line) == ["8", *2 * ("1.00 [1.00, 1.00]", "< 0.0001")]


def test_a_published_row_without_a_figure_is_no_point() -> None:
    table = FIGURES["bag-of-tricks/8"]
    gap = table.model_copy(update={"rows": table.rows | {"best": (70.0, None)}})
    found = transfer.published_points({"bag-of-tricks/8": gap}, "detect map")
    assert list(found) == list(table.rows)


def test_notes_list_the_backbones_and_the_exclusions(runs: list[Record]) -> None:
    shown = transfer.grid(Index(runs), FIGURES, ["a file"], count=200)
    notes = "\n".join(shown.notes)
    assert "backbones: a, b, c, d, e, f; each value is a mean over seeds (1 to 2)" in notes
    assert "random weights" in notes
    assert "120 samples of split val" in notes
    assert "skipped: a file" in notes
    assert "not comparable" in shown.warning
    assert "protocol demo" in shown.title


def test_seeds_that_cannot_be_averaged_are_noted(make: Make, runs: list[Record]) -> None:
    other = make(recipe="a", stage="detect", mirrors="voc", values={"map": 50.0}, seed=2, samples=7)
    shown = transfer.grid(Index([*runs, other]), FIGURES, count=200)
    assert cells(shown, "detect map")["backbones (demo)"] == "5"
    assert any("not averaged" in note for note in shown.notes)


def test_too_few_backbones_have_no_coefficient(make: Make, runs: list[Record]) -> None:
    few = [run for run in runs if run.recipe in "ab"]
    line = cells(transfer.grid(Index(few), FIGURES, count=200), "detect map")
    assert (line["backbones (demo)"], line["Spearman (demo)"]) == ("2", "-")
    with pytest.raises(RecordError, match="has a downstream result"):
        transfer.grid(Index([make()]), FIGURES)
    with pytest.raises(RecordError, match="has a downstream result"):
        transfer.grid(Index([runs[-1]]), FIGURES)


def test_the_command_prints_every_format(
    runs: list[Record], write_record: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in runs:
        write_record(tmp_path, run)
    common = ["transfer", "--protocol", "demo", "--runs", str(tmp_path)]
    for name, told in (
        ("markdown", "| detect map "),
        ("csv", "metric,backbones (demo),Spearman (demo)"),
        ("latex", r"\toprule"),
    ):
        assert main([*common, "--format", name]) == 0
        assert told in capsys.readouterr().out
