"""`trickbench recipes`: the list, and the comparison of two."""

from __future__ import annotations

import pytest

import trickbench
from core import configs
from pretrain import recipes_command


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
