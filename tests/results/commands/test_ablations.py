"""`trickbench recipes ablations`: one command for each ablation run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

import trickbench
from core import configs
from pretrain import recipe, recipes_command

ROOT = Path(__file__).resolve().parents[3]


def published(table: str) -> dict:
    text = (ROOT / "results/papers/strikes-back.yaml").read_text()
    return yaml.safe_load(text)["tables"][table]


@pytest.fixture
def ablations(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, float, recipe.Recipe]]:
    """Table, published value and the recipe that the command trains."""
    assert trickbench.main(["recipes", "ablations"]) == 0
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
