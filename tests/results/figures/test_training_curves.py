"""Learning rates, curves by epoch and logit gaps against independent values."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from core.record import Record
from results.figures import drawing, smoothing_gap, training_curves
from results.figures.drawing import FigureError, FigureInputs

Make = Callable[..., Record]
Keep = Callable[..., FigureInputs]
Train = Callable[[FigureInputs], FigureInputs]
Lines = Callable[..., dict[str, np.ndarray]]
Outputs = Callable[[FigureInputs, str], FigureInputs]


def test_learning_rates_are_those_of_the_two_histories(
    make: Make, tmp_path: Path, inputs: Keep, with_history: Train, lines: Lines
) -> None:
    runs = [make(recipe=name) for name in ("d-efficient", "cosine", "best")]
    drawn = lines(training_curves.lr_schedules(with_history(inputs(tmp_path, *runs))))
    step = np.arange(8)
    expected = np.stack([step / 2, 1 / (1 + step)], axis=1)
    assert set(drawn) == {"step decay (d-efficient)", "cosine decay (cosine)"}
    for points in drawn.values():
        np.testing.assert_allclose(points, expected)


def test_a_history_of_an_older_version_has_no_learning_rates(
    make: Make, tmp_path: Path, inputs: Keep, with_history: Train, with_outputs: Outputs
) -> None:
    runs = [make(recipe=name) for name in ("d-efficient", "cosine")]
    found = with_history(inputs(tmp_path, *runs))
    (older,) = (path for path, run in found.records.items() if run.recipe == "cosine")
    file = older.with_name("history.json")
    epochs = json.loads(file.read_text())
    for epoch in epochs:
        del epoch["learning_rates"]
    file.write_text(json.dumps(epochs))
    found = with_outputs(found, "history.json")
    with pytest.raises(FigureError, match="histories of cosine have no learning rates"):
        training_curves.lr_schedules(found)
    assert training_curves.validation_curves(found)


def test_a_history_that_no_record_names_is_not_drawn(
    make: Make, tmp_path: Path, inputs: Keep, with_history: Train
) -> None:
    runs = [make(recipe=name) for name in ("d-efficient", "cosine")]
    found = inputs(tmp_path, *runs)
    with_history(found)
    with pytest.raises(FigureError, match="no history of a pretraining by cosine, d-eff"):
        training_curves.lr_schedules(found)


def test_validation_curves_are_the_histories_of_step_and_cosine(
    make: Make, tmp_path: Path, inputs: Keep, with_history: Train, lines: Lines
) -> None:
    runs = [
        make(recipe=name, values={"top1": top1})
        for name, top1 in (("d-efficient", 40.0), ("cosine", 60.0), ("best", 80.0))
    ]
    plot = training_curves.validation_curves(with_history(inputs(tmp_path, *runs)))
    drawn = lines(plot)
    assert set(drawn) == {"d-efficient", "cosine"}
    np.testing.assert_allclose(drawn["cosine"], [[1, 15], [2, 30], [3, 45], [4, 60]])
    assert "120 samples of demo-imagenet" in plot.caption
    assert "cosine n=1" in plot.caption
    assert "protocol demo" in plot.title


def test_validation_curves_want_both(
    make: Make, tmp_path: Path, inputs: Keep, with_history: Train
) -> None:
    found = with_history(inputs(tmp_path, make(recipe="cosine")))
    with pytest.raises(FigureError, match="d-efficient"):
        training_curves.validation_curves(found)


def test_training_curves_have_a_line_for_each_seed(
    make: Make, tmp_path: Path, inputs: Keep, with_history: Train, lines: Lines
) -> None:
    runs = [make(recipe="best", seed=seed, values={"top1": 40.0 + seed}) for seed in range(3)]
    plot = training_curves.training_curves(with_history(inputs(tmp_path, *runs)))
    loss, accuracy = plot.figure.axes
    assert len(loss.lines) == len(accuracy.lines) == 3
    assert list(lines(plot)) == ["best"]
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [4, 2, 4 / 3, 1])
    assert {line.get_color() for line in loss.lines} == {drawing.COLOURS[0]}
    assert "best n=3" in plot.caption


def test_without_a_history_there_are_no_curves(make: Make, tmp_path: Path, inputs: Keep) -> None:
    with pytest.raises(FigureError, match=r"history\.json"):
        training_curves.training_curves(inputs(tmp_path, make()))


@pytest.mark.parametrize("content", ["", "[]", "{}", '[{"epoch": 1, "loss": 2.0}]', "[1]"])
def test_a_damaged_history_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "history.json"
    file.write_text(content)
    with pytest.raises(FigureError, match=r"history\.json: not a readable history"):
        training_curves.read_history(file)


@pytest.mark.parametrize(("eps", "classes"), [(0.1, 1000), (0.01, 10), (0.5, 2)])
def test_the_optimal_gap_makes_the_smoothed_target(eps: float, classes: int) -> None:
    logits = torch.zeros(classes, dtype=torch.float64)
    logits[0] = float(smoothing_gap.optimal_gap(eps, classes))
    wanted = [1 - eps] + [eps / (classes - 1)] * (classes - 1)
    np.testing.assert_allclose(logits.softmax(0), wanted, rtol=1e-12)


def test_the_gap_figure_has_the_theory_and_the_histogram(
    make: Make, tmp_path: Path, lines: Lines
) -> None:
    values = np.linspace(2, 6, 50)
    found = smoothing_gap.Gaps("smooth", values, 8, "demo/imagenet", 0.1)
    plot = smoothing_gap.draw([8], [found], "demo")
    theory = lines(plot)["8 classes"]
    np.testing.assert_allclose(theory[:, 1], [math.log(7 * (1 - e) / e) for e in theory[:, 0]])
    _, histogram = plot.figure.axes
    area = sum(bar.get_width() * bar.get_height() for bar in histogram.patches)
    assert area == pytest.approx(1)
    assert histogram.lines[0].get_xdata()[0] == pytest.approx(math.log(7 * 0.9 / 0.1))
    assert "50 images of demo/imagenet" in plot.caption


@pytest.fixture
def with_gaps(make: Make, tmp_path: Path, inputs: Keep, with_outputs: Outputs) -> FigureInputs:
    """Two recipes of two seeds, one with label smoothing, and evaluations, all with gaps."""
    runs = []
    for i, (recipe, eps) in enumerate((("smooth", 0.1), ("cosine", 0.0))):
        for seed in range(2):
            weights = make().backbone.model_copy(update={"sha256": f"{i}{seed}" * 32})
            config = {"label_smoothing": eps}
            runs.append(make(recipe=recipe, seed=seed, config=config, backbone=weights))
        shared = dict(stage="evaluate", recipe=recipe, seed=0)
        first = runs[-2].backbone
        runs.append(make(**shared, task="evaluate-imagenet", backbone=first))
        runs.append(make(**shared, task="evaluate-real", mirrors="imagenet-real", backbone=first))
    found = inputs(tmp_path, *runs)
    for place, path in enumerate(found.records):
        values = place + np.linspace(2, 6, 50, dtype=np.float32)
        np.savez(path.with_name("gaps.npz"), gaps=values)
    return with_outputs(found, "gaps.npz")


def test_gaps_are_drawn_of_each_recipe_on_each_set(with_gaps: FigureInputs) -> None:
    plot = smoothing_gap.smoothing_gap(with_gaps)
    _, *histograms = plot.figure.axes
    assert [it.get_title().split(",")[0] for it in histograms] == ["cosine", "smooth"] * 2
    # places of the first seeds' pretrainings, then of the evaluations on another set
    lowest = [min(bar.get_x() for bar in it.patches) for it in histograms]
    assert lowest == pytest.approx([2 + 4, 2 + 0, 2 + 7, 2 + 3])
    optimum = math.log(7 * 0.9 / 0.1)
    marks = [[line.get_xdata()[0] for line in it.lines] for it in histograms]
    assert marks == [[], [pytest.approx(optimum)]] * 2
    assert "smooth: 50 images of demo-imagenet-real" in plot.caption


def test_gaps_that_are_not_the_records_or_not_finite_are_left_out(
    with_gaps: FigureInputs, with_outputs: Outputs
) -> None:
    first, *others = with_gaps.records
    first.with_name("gaps.npz").write_bytes(b"PK damaged")
    np.savez(others[2].with_name("gaps.npz"), gaps=[1.0, np.nan])
    plot = smoothing_gap.smoothing_gap(with_gaps)
    assert "Left out: smooth on demo-imagenet (" in plot.caption
    assert "its hash is not the one in the record" in plot.caption
    plot = smoothing_gap.smoothing_gap(with_outputs(with_gaps, "gaps.npz"))
    assert "gaps.npz: not readable" in plot.caption
    assert "gaps.npz: not all gaps are finite" in plot.caption


def test_without_gaps_there_is_the_theory(make: Make, tmp_path: Path, inputs: Keep) -> None:
    plot = smoothing_gap.smoothing_gap(inputs(tmp_path, make()))
    assert len(plot.figure.axes) == 1
    assert "No pretraining and no evaluation has a gaps.npz." in plot.caption
