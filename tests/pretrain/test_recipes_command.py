"""`trickbench recipes`: the list, the comparison of two, and the ablations as commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

import trickbench
from core import configs
from pretrain import recipe, recipes_command

ROOT = Path(__file__).resolve().parents[2]


def published(table: str) -> dict:
    text = (ROOT / "results/papers/strikes-back.yaml").read_text()
    return yaml.safe_load(text)["tables"][table]


def test_every_recipe_stands_after_its_parent_with_its_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert trickbench.main(["recipes"]) == 0
    header, rule, *lines = capsys.readouterr().out.splitlines()
    assert set(rule) == {"-"}
    assert header.split()[:5] == ["recipe", "published", "epochs", "batch", "lr"]
    rows = {line.split()[0]: line.split() for line in lines}
    assert sorted(rows) == configs.names("pretrain")
    order = list(rows)
    for name, row in rows.items():
        if "+" in row:
            parent = row[row.index("+") - 1]
            assert order.index(parent) < order.index(name)
    assert rows["best"][1:6] == ["79.29", "200", "1024", "0.4", "resnet50d"]
    assert rows["bs256-zero-gamma"][1:6] == ["76.19", "120", "256", "0.1", "resnet50_v1"]
    assert rows["a3"][1:6] == ["78.1", "100", "2048", "0.008", "resnet50"]
    assert rows["teacher"][1] == "-"
    assert rows["smooth"][6:] == ["cosine", "+", "label_smoothing=0.1"]


def test_a_protocols_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert recipes_command.main(["--protocol", "demo"]) == 0
    best = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("best "))
    assert best.split()[1:6] == ["79.29", f"{200 / 15:.3g}", "32", "0.2", "resnet10d_narrow"]


def test_two_recipes_differ_in_what_the_paper_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert recipes_command.main(["diff", "smooth", "mixup"]) == 0
    _, _, *lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["epochs", "120.0", "200.0"],
        ["mixup_alpha", "0.0", "0.2"],
    ]


def test_a_misspelt_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert recipes_command.main(["diff", "smooth", "mixip"]) == 2
    assert "unknown recipe 'mixip': did you mean mixup" in capsys.readouterr().err


@pytest.fixture
def ablations(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, float, recipe.Recipe]]:
    """Table, published figure and the recipe that the command trains."""
    assert recipes_command.main(["ablations"]) == 0
    found = []
    for line in capsys.readouterr().out.splitlines()[2:]:
        table, figure, command = re.split(r"\s{2,}", line)
        words = dict(word.split("=", 1) for word in shlex.split(command)[2:])
        options = configs.parse_options(words.get("OPTIONS", "").split())
        found.append((table, float(figure), recipe.load(words["VARIANT"], "paper", options)))
    return found


def test_table_6_has_its_22_runs(ablations: list[tuple[str, float, recipe.Recipe]]) -> None:
    runs = [
        [run.loss.upper(), run.lr, run.weight_decay, run.repeats == 3, figure]
        for table, figure, run in ablations
        if table == "strikes-back/6"
    ]
    assert len(runs) == 22
    assert runs == published("6")["rows"]
    base = recipe.load("a2", "paper", {})
    for _, _, run in ablations[:22]:
        others = {"loss", "lr", "weight_decay", "repeats"}
        assert {key for key, _ in recipes_command.changes(base, run)} <= others


def test_drop_path_and_smoothing_are_switched_in_each_recipe(
    ablations: list[tuple[str, float, recipe.Recipe]],
) -> None:
    runs = [(figure, run) for table, figure, run in ablations if table != "strikes-back/6"]
    rows = published("drop-smoothing")["rows"]
    assert [figure for figure, _ in runs] == [figure for row in rows.values() for figure in row]
    epochs = [run.epochs for _, run in runs]
    assert epochs == [600, 300, 100] * 5
    assert [run.drop_path for _, run in runs[:9]] == [0.0] * 3 + [0.05] * 3 + [0.1] * 3
    assert [run.label_smoothing for _, run in runs[9:]] == [0.0] * 3 + [0.1] * 3
