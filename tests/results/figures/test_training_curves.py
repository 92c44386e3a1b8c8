"""Learning rates, curves by epoch, and gaps between logits, derived again."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from core import exchange
from core.record import Record
from pretrain import recipe as recipes
from pretrain.images import datasets
from pretrain.model import architectures
from pretrain.training.lr_schedule import learning_rate
from results.figures import drawing, smoothing_gap, training_curves
from results.figures.drawing import Material, NothingMeasuredError

Make = Callable[..., Record]
Keep = Callable[..., Material]
Train = Callable[[Material], Material]
Lines = Callable[..., dict[str, np.ndarray]]


def test_learning_rates_are_warm_up_then_step_or_cosine(tmp_path: Path, lines: Lines) -> None:
    drawn = lines(training_curves.lr_schedules(Material("paper", {})))
    per_epoch = 1_281_167 // 1024
    warmup, total = 5 * per_epoch, 120 * per_epoch
    peak = 0.1 * 1024 / 256
    step = np.arange(total)
    rising = (step + 1) / warmup
    cosine = np.where(
        step < warmup, rising, (1 + np.cos(np.pi * (step - warmup) / (total - warmup))) / 2
    )
    quarters = np.where(step < warmup, rising, 0.1 ** np.floor(4 * step / total))
    for label, expected in (
        ("cosine decay (cosine)", cosine),
        ("step decay (d-efficient)", quarters),
    ):
        np.testing.assert_allclose(drawn[label][:, 0], step / per_epoch)
        np.testing.assert_allclose(drawn[label][:, 1], peak * expected, atol=1e-12)


@pytest.mark.parametrize("name", ["d-efficient", "cosine"])
def test_learning_rates_are_those_of_the_training(name: str) -> None:
    chosen = recipes.load(name, "demo", {})
    epochs, rates = training_curves.learning_rates(name, "demo")
    per_epoch = round(1 / (epochs[1] - epochs[0]))
    assert [learning_rate(chosen, i, per_epoch) for i in range(len(rates))] == rates.tolist()
    assert epochs[-1] + 1 / per_epoch == pytest.approx(chosen.epochs, abs=0.5 / per_epoch)


def test_a_protocol_without_a_config_has_no_learning_rates() -> None:
    with pytest.raises(NothingMeasuredError, match="mine"):
        training_curves.lr_schedules(Material("mine", {}))


def test_validation_curves_are_the_histories_of_step_and_cosine(
    make: Make, tmp_path: Path, material: Keep, with_history: Train, lines: Lines
) -> None:
    runs = [
        make(recipe=name, values={"top1": top1})
        for name, top1 in (("d-efficient", 40.0), ("cosine", 60.0), ("best", 80.0))
    ]
    plot = training_curves.validation_curves(with_history(material(tmp_path, *runs)))
    drawn = lines(plot)
    assert set(drawn) == {"d-efficient", "cosine"}
    np.testing.assert_allclose(drawn["cosine"], [[1, 15], [2, 30], [3, 45], [4, 60]])
    assert "120 samples of demo-imagenet" in plot.caption
    assert "cosine n=1" in plot.caption
    assert "protocol demo" in plot.title


def test_validation_curves_want_both(
    make: Make, tmp_path: Path, material: Keep, with_history: Train
) -> None:
    found = with_history(material(tmp_path, make(recipe="cosine")))
    with pytest.raises(NothingMeasuredError, match="d-efficient"):
        training_curves.validation_curves(found)


def test_training_curves_have_a_line_for_each_seed(
    make: Make, tmp_path: Path, material: Keep, with_history: Train, lines: Lines
) -> None:
    runs = [make(recipe="best", seed=seed, values={"top1": 40.0 + seed}) for seed in range(3)]
    plot = training_curves.training_curves(with_history(material(tmp_path, *runs)))
    loss, accuracy = plot.figure.axes
    assert len(loss.lines) == len(accuracy.lines) == 3
    assert list(lines(plot)) == ["best"]
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [4, 2, 4 / 3, 1])
    assert {line.get_color() for line in loss.lines} == {drawing.COLOURS[0]}
    assert "best n=3" in plot.caption


def test_without_a_history_there_are_no_curves(make: Make, tmp_path: Path, material: Keep) -> None:
    with pytest.raises(NothingMeasuredError, match=r"history\.json"):
        training_curves.training_curves(material(tmp_path, make()))


@pytest.mark.parametrize("content", ["", "[]", "{}", '[{"epoch": 1, "loss": 2.0}]', "[1]"])
def test_a_damaged_history_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "history.json"
    file.write_text(content)
    with pytest.raises(NothingMeasuredError, match=r"history\.json: not a readable history"):
        training_curves.read_history(file)


@pytest.mark.parametrize(("eps", "classes"), [(0.1, 1000), (0.01, 10), (0.5, 2)])
def test_the_optimal_gap_makes_the_smoothed_target(eps: float, classes: int) -> None:
    logits = torch.zeros(classes, dtype=torch.float64)
    logits[0] = float(smoothing_gap.optimal_gap(eps, classes))
    wanted = [1 - eps] + [eps / (classes - 1)] * (classes - 1)
    np.testing.assert_allclose(logits.softmax(0), wanted, rtol=1e-12)


def test_a_gap_is_the_largest_logit_minus_the_mean_of_the_others() -> None:
    logits = np.array([[1.0, 5.0, 3.0], [2.0, 2.0, 2.0]])
    np.testing.assert_allclose(smoothing_gap.gaps(logits), [5 - 2, 0])


def test_the_measured_gaps_are_those_of_the_model(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, material: Keep
) -> None:
    torch.manual_seed(1)
    model = architectures.create("resnet10d_narrow", 3)
    tensors = model.state_dict()
    about = exchange.Exchange(
        architecture="resnet10d_narrow",
        classes=3,
        mean=(0.5, 0.4, 0.3),
        std=(0.25, 0.2, 0.3),
        resolution=32,
        crop_ratio=1.0,
        interpolation="bilinear",
        pretrained=True,
        recipe="smooth",
        protocol="demo",
        seed=0,
        dataset="tiny",
        record_sha256="",
    )
    file = tmp_path / "backbone.safetensors"
    exchange.save_exchange(file, tensors, about)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    images = datasets.ImageSet(
        *("tiny", "imagenet", "val", ("a", "b", "c"), np.arange(5) % 3, Path("nowhere")),
        pixels=pixels,
    )
    monkeypatch.setattr(datasets, "load", lambda name, root, role: images)
    backbone = make().backbone.model_copy(update={"sha256": exchange.weights_sha256(tensors)})
    run = make(backbone=backbone, config={"label_smoothing": 0.1})

    found = smoothing_gap.measure(file, material(tmp_path, run, data=tmp_path))

    scaled = (pixels / 255 - np.array(about.mean)) / np.array(about.std)
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(scaled.transpose(0, 3, 1, 2)).float()).numpy()
    in_order = np.sort(logits, axis=1)
    np.testing.assert_allclose(
        found.values, in_order[:, 2] - in_order[:, :2].mean(axis=1), rtol=1e-4, atol=1e-5
    )
    assert (found.name, found.classes, found.dataset, found.eps) == ("smooth", 3, "tiny", 0.1)


def test_gaps_cannot_be_measured_without_data_or_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(NothingMeasuredError, match="--data"):
        smoothing_gap.measure(tmp_path / "backbone.safetensors", Material("demo", {}))
    with pytest.raises(NothingMeasuredError, match="absent"):
        smoothing_gap.measure(tmp_path / "absent", Material("demo", {}, tmp_path))


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
