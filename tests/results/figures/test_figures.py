"""Accuracy over seeds, resolutions and tasks against independent values; and the SVG output."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm

from core.record import Record
from results import figures
from results.figures import accuracy, drawing, transfer_scatter
from results.figures.drawing import FigureError, FigureInputs
from results.papers import published

Make = Callable[..., Record]
Keep = Callable[..., FigureInputs]
Train = Callable[[FigureInputs], FigureInputs]
Lines = Callable[..., dict[str, np.ndarray]]
Outputs = Callable[[FigureInputs, str], FigureInputs]


def test_seeds_are_fitted_as_scipy_fits(make: Make, tmp_path: Path, inputs: Keep) -> None:
    top1 = [70.1, 70.9, 70.4, 69.8, 70.2]
    runs = [make(recipe="a2", seed=i, values={"top1": it}) for i, it in enumerate(top1)]
    two = [make(recipe="a1", seed=i, values={"top1": 60.0 + i}) for i in range(2)]
    plot = accuracy.seeds(inputs(tmp_path, *runs, *two))
    (axes,) = plot.figure.axes
    curve = axes.lines[1].get_xydata()
    mean, deviation = norm.fit(top1)
    np.testing.assert_allclose(curve[:, 1], norm.pdf(curve[:, 0], mean, deviation))
    assert (mean, deviation) == pytest.approx((np.mean(top1), np.std(top1)))
    assert (
        f"mean {mean:.2f}, sample standard deviation {np.std(top1, ddof=1):.2f}, n=5"
        in plot.caption
    )
    assert sum(it.get_width() * it.get_height() for it in axes.patches) == pytest.approx(1)


def test_seeds_of_different_settings_are_not_thrown_together(
    make: Make, tmp_path: Path, inputs: Keep
) -> None:
    runs = [make(seed=seed, config={"lr": 0.1 * (1 + seed)}) for seed in range(3)]
    differ = r"pretrain/best/seed0 and pretrain/best/seed1 differ in config lr"
    with pytest.raises(FigureError, match=f"3 seeds or more; {differ}"):
        accuracy.seeds(inputs(tmp_path / "one", *runs))
    more = [make(recipe="a2", seed=seed, values={"top1": 60.0 + seed}) for seed in range(3)]
    plot = accuracy.seeds(inputs(tmp_path / "both", *runs, *more))
    assert len(plot.figure.axes) == 1
    assert "Left out: pretrain/best/seed0 and pretrain/best/seed1 differ in" in plot.caption


def test_resolutions_are_the_means_over_seeds(
    make: Make, tmp_path: Path, inputs: Keep, lines: Lines
) -> None:
    runs = [
        make(
            stage="evaluate",
            recipe="a3",
            seed=seed,
            values={"top1": 1.0, "top1@64/1.0": 50.0 + seed, "top1@96/1.0": 60.0 + seed}
            | {"top5@64/1.0": 90.0, "top1@64/0.875": 40.0},
        )
        for seed in range(2)
    ]
    found = inputs(tmp_path, *runs)
    (curve,), refused = accuracy.by_resolution(found.records.values())
    assert refused == []
    assert curve == accuracy.Curve(
        "a3", "demo-imagenet", 1.0, (64, 96), (50.5, 60.5), seeds=(2, 2), samples=(120, 120)
    )
    np.testing.assert_allclose(
        lines(accuracy.resolutions(found))["a3, n=2"], [[64, 50.5], [96, 60.5]]
    )


def test_each_resolution_has_its_own_seeds(
    make: Make, tmp_path: Path, inputs: Keep, lines: Lines
) -> None:
    evaluate = {"stage": "evaluate", "recipe": "a3"}
    both = {"top1@64/1.0": 50.0, "top1@96/1.0": 60.0}
    runs = [
        make(**evaluate, values=both, samples=90),
        make(**evaluate, values={"top1@96/1.0": 62.0}, samples=90, seed=1),
        make(**evaluate, values={"top1@128/1.0": 1.0}, samples=90, seed=0),
        make(**evaluate, values={"top1@128/1.0": 1.0}, samples=7, seed=1),
    ]
    found = [run.model_copy(update={"recipe": "a3"}) for run in runs]
    (curve,), refused = accuracy.by_resolution(found)
    assert (curve.resolutions, curve.top1, curve.seeds) == ((64, 96), (50.0, 61.0), (1, 2))
    assert len(refused) == 1
    assert "differ in number of samples: 90 and 7" in refused[0]
    plot = accuracy.resolutions(inputs(tmp_path, *runs[:2]))
    assert list(lines(plot)) == ["a3, n=1 to 2"]


def transferred(make: Make, **fields: object) -> list[Record]:
    runs = []
    for recipe, top1, score in (("best", 76.0, 46.0), ("d-efficient", 33.0, 48.0)):
        runs.append(make(recipe=recipe, values={"top1": top1}, **fields))
        detect = {"stage": "detect", "mirrors": "voc", "values": {"map": score}}
        runs.append(make(recipe=recipe, **detect, **fields))
    return runs


def test_transfer_has_our_points_and_beside_them_the_published(
    make: Make, tmp_path: Path, inputs: Keep
) -> None:
    plot = transfer_scatter.transfer_figure(inputs(tmp_path, *transferred(make)))
    ours, theirs = plot.figure.axes
    np.testing.assert_allclose(ours.lines[0].get_xydata(), [[33, 48], [76, 46]])
    table = published.load()["bag-of-tricks/8"]
    np.testing.assert_allclose(
        theirs.lines[0].get_xydata(), sorted(table.rows.values(), key=lambda row: row[0])
    )
    assert "n=2 backbones, 120 samples of demo-voc" in plot.caption


def test_only_under_the_papers_protocol_both_share_axes(
    make: Make, tmp_path: Path, inputs: Keep
) -> None:
    records = inputs(tmp_path, *transferred(make, protocol="paper")).records
    (axes,) = transfer_scatter.transfer_figure(FigureInputs("paper", records)).figure.axes
    assert [len(line.get_xdata()) for line in axes.lines] == [2, 7]


@pytest.fixture
def everything(make: Make, tmp_path: Path, inputs: Keep, with_history: Train) -> FigureInputs:
    names = ("d-efficient", "cosine", "_$x^$ <b>&")
    return with_history(inputs(tmp_path, *(make(recipe=it) for it in names)))


def test_an_svg_is_reproducible_and_has_title_and_description(everything: FigureInputs) -> None:
    first, second = (figures.draw("training-curves", everything) for _ in range(2))
    assert first == second
    root = ET.fromstring(first.svg)
    title, description = root[0], root[1]
    assert (title.text, description.text) == (first.title, first.caption)
    assert root.attrib["aria-labelledby"] == f"{title.attrib['id']} {description.attrib['id']}"
    text = "".join(root.itertext())
    assert "_$x^$ <b>&" in text.replace("\u200b", "")
    assert drawing.INK not in first.svg
    assert "currentColor" in first.svg


def test_the_ids_of_all_figures_differ_and_all_references_resolve(everything: FigureInputs) -> None:
    drawn = [it for it in figures.draw_all(everything) if not it.reason]
    assert len(drawn) > 2
    ids = [i for it in drawn for i in re.findall(r'\bid="([^"]+)"', it.svg)]
    assert len(set(ids)) == len(ids)
    used = {i for it in drawn for i in re.findall(r'(?:url\(#|href="#)([^")]+)', it.svg)}
    assert used <= set(ids)


def test_a_damaged_file_costs_its_own_figures_alone(
    everything: FigureInputs, with_outputs: Outputs
) -> None:
    path = next(iter(everything.records))
    file = path.with_name("history.json")
    file.write_text('[{"epoch": 1, "loss"')
    for found, words in (
        (everything, "its hash is not the one in the record"),
        (with_outputs(everything, "history.json"), "not a readable history"),
    ):
        reasons = {it.name: it.reason for it in figures.draw_all(found)}
        for name in ("training-curves", "step-and-cosine", "learning-rate"):
            assert reasons[name].startswith(f"{file}: {words}")
        assert reasons["smoothing-gap"] == ""


def test_figures_are_written_as_svg_and_png_or_said_to_be_missing(
    make: Make, tmp_path: Path, inputs: Keep, with_history: Train
) -> None:
    out = tmp_path / "figures"
    told = list(figures.write_all(with_history(inputs(tmp_path / "runs", make())), out))
    written = sorted(path.name for path in out.iterdir())
    assert written == [
        f"{it}.{end}" for it in ("smoothing-gap", "training-curves") for end in ("png", "svg")
    ]
    assert len(told) == len(figures.FIGURES)
    assert sum("not drawn: " in line for line in told) == len(figures.FIGURES) - 2
    with Image.open(out / "smoothing-gap.png") as image:
        assert image.getpixel((0, 0))[:3] == (255, 255, 255)
