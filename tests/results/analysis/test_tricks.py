"""What each trick added: pairs, signs, published differences, and what is left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import files, record
from core.metrics import classification
from core.record import Backbone, Record, RecordError
from core.runs import run_folder
from results.__main__ import main
from results.analysis import tricks
from results.papers import published
from results.stats.intervals import resamples
from results.store import query
from results.store.comparability import run_name
from results.tables.grid import Grid
from results.tables.index import Index

Make = Callable[..., Record]
IMAGES, FEW = 300, 2000


@pytest.fixture
def add(make: Make, tmp_path: Path) -> Callable[..., np.ndarray]:
    """Writes the record of a linear probe; returns which images are correct."""

    def add(recipe: str, share: float, seed: int = 0, **fields: Any) -> np.ndarray:
        right = np.random.default_rng([seed, *recipe.encode()]).random(IMAGES) < share
        task = {"stage": "linear", "task": "linear-cifar10", "mirrors": "cifar10"} | fields
        folder = run_folder(tmp_path, "demo", task["task"], recipe, seed)
        folder.mkdir(parents=True)
        kept = classification.save(folder, right[:, None])
        values = {"top1": 100 * right.mean()}
        outputs = {kept.name: files.sha256_of(kept)}
        run = make(
            **{"values": values, "samples": IMAGES, "split": "test", "outputs": outputs} | task,
            recipe=recipe,
            seed=seed,
        )
        record.write(run, folder / "record.json")
        return right

    return add


def shown(runs: Path, count: int = FEW) -> Grid:
    found = {path: record.read(path) for path in runs.rglob("record.json")}
    index, folders = Index(list(found.values())), query.folders(found)
    return tricks.grid(index, folders, published.load(), count=count)


def line(grid: Grid, adds: str) -> dict[str, str]:
    (found,) = (it for it in grid.lines if it[0] == adds)
    return dict(zip(grid.head, found, strict=True))


LINEAR = "linear-cifar10 top1 (demo)"


@pytest.mark.parametrize(("with_it", "without"), [(0.8, 0.6), (0.6, 0.8)])
def test_a_difference_is_the_recipe_minus_its_base(
    with_it: float, without: float, add: Callable, tmp_path: Path
) -> None:
    one, other = add("smooth", with_it), add("cosine", without)
    replicated = [
        100 * (weights @ one - weights @ other) / IMAGES
        for part in resamples(IMAGES, FEW)
        for weights in part
    ]
    low, high = np.quantile(replicated, [0.025, 0.975])
    difference = 100 * (one.mean() - other.mean())

    grid = shown(tmp_path)

    assert line(grid, "label smoothing") == {
        "adds": "label smoothing",
        "recipe": "smooth",
        "compared with": "cosine",
        LINEAR: f"{difference:+.2f} [{low:+.2f}, {high:+.2f}] (1)",
    }
    assert grid.bold == {(0, 3)}, "20 points of 300 images are more than noise"


def test_what_is_within_the_noise_is_not_bold(add: Callable, tmp_path: Path) -> None:
    add("smooth", 0.71)
    add("cosine", 0.70)
    assert not shown(tmp_path).bold


def test_p_values_are_corrected_for_the_whole_table(add: Callable, tmp_path: Path) -> None:
    for recipe, share in {"b-standard": 0.6, "d-efficient": 0.62, "cosine": 0.61}.items():
        add(recipe, share)
        add(recipe, share + 0.1, task="linear-places365", mirrors="places365")
    (note,) = (it for it in shown(tmp_path).notes if "Holm" in it)
    assert "paired bootstrap over images, 2000 resamples" in note
    assert "over the 4 comparisons" in note


def test_seeds_are_those_of_the_lesser_side(add: Callable, tmp_path: Path) -> None:
    for seed in range(3):
        add("smooth", 0.8, seed)
    for seed in range(2):
        add("cosine", 0.6, seed)
    grid = shown(tmp_path)
    assert line(grid, "label smoothing")[LINEAR].endswith(" (2)")
    assert any("images and seeds" in note for note in grid.notes)


def test_random_weights_are_those_of_the_same_network(
    add: Callable, make: Make, tmp_path: Path
) -> None:
    add("d-efficient", 0.8)
    for arch in ("resnet18", "resnet50d"):
        source = f"random:{arch}"
        backbone = Backbone(source=source, architecture=arch, pretrained=False, sha256="d" * 64)
        add(f"random-{arch}", 0.5, backbone=backbone)
    assert line(shown(tmp_path), "pretraining")["compared with"] == "random-resnet50d"


# Of the papers' tables 8 and 9: worked by hand.
BESIDE = {
    "model D and efficient training": ("+1.02", "+0.76", "+1.83"),
    "cosine decay": ("+0.75", "+0.93", "+0.45"),
    "label smoothing": ("+0.43", "+1.48", "-0.58"),
    "distillation": ("+0.33", "+0.25", "+0.15"),
    "mixup and longer training": ("+0.82", "+0.39", "-0.76"),
    "distillation, with mixup": ("+0.13", "+0.23", "+0.41"),
    "mixup, equal epochs": ("-", "-", "-"),
    "distillation, with mixup, equal epochs": ("-", "-", "-"),
}


def test_published_differences_are_shown(make: Make) -> None:
    recipes = {step.recipe for step in tricks.STEPS} | {"b-standard"}
    runs = [
        make(recipe=recipe, **fields)
        for recipe in sorted(recipes)
        for fields in (
            {},
            {"stage": "detect", "mirrors": "voc", "values": {"map": 20.0}},
            {"stage": "segment", "mirrors": "ade20k", "values": {"miou": 20.0}},
        )
    ]
    folders = dict.fromkeys(map(run_name, runs), Path())
    grid = tricks.grid(Index(runs), folders, published.load())

    beside = [f"{key} published" for key in ("pretrain top1", "detect map", "segment miou")]
    found = {adds: tuple(line(grid, adds)[key] for key in beside) for adds in BESIDE}
    assert found == BESIDE
    assert line(grid, "cosine decay")["detect map (demo)"] == "+0.00 (1)", "nothing says how sure"
    assert grid.head[3].startswith("pretrain"), "the source task comes first"


def test_a_pair_that_cannot_be_compared_is_noted_and_hides_no_other(
    add: Callable, tmp_path: Path
) -> None:
    add("smooth", 0.8)
    add("cosine", 0.7)
    add("d-efficient", 0.6)
    add("b-standard", 0.6, fingerprint="f" * 64)
    grid = shown(tmp_path)
    assert [it[0] for it in grid.lines] == ["cosine decay", "label smoothing"]
    assert line(grid, "cosine decay")[LINEAR] != "-"
    (note,) = (it for it in grid.notes if "not compared" in it)
    assert note.startswith("linear-cifar10 top1, d-efficient: not compared: ")
    assert "cannot be compared" in note


def test_no_number_no_line_and_no_table(add: Callable, tmp_path: Path) -> None:
    add("smooth", 0.8)
    add("cosine", 0.7, task="linear-places365")
    with pytest.raises(RecordError, match="the one before it"):
        shown(tmp_path)
    add("smooth", 0.8, task="linear-places365", fingerprint="f" * 64)
    with pytest.raises(RecordError, match=r"smooth: not compared: .*cannot be compared"):
        shown(tmp_path)


def test_differences_without_a_significance_test_are_noted(make: Make) -> None:
    runs = [make(recipe=recipe) for recipe in ("smooth", "cosine")]
    grid = tricks.grid(Index(runs), dict.fromkeys(map(run_name, runs), Path()), published.load())
    (note,) = (it for it in grid.notes if "significance cannot be tested" in it)
    assert "needs at least two seeds per backbone" in note
    assert not any("Holm" in it for it in grid.notes)


def test_without_a_pair_there_is_no_table(make: Make) -> None:
    with pytest.raises(RecordError, match="the one before it"):
        tricks.grid(Index([make(recipe="smooth")]), {}, published.load())


def test_the_command(add: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add("smooth", 0.8)
    add("cosine", 0.6)
    words = ["tricks", "--protocol", "demo", "--runs", str(tmp_path)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "## What each trick added (protocol demo)" in printed
    assert "not comparable with the published ones" in printed
    assert main([*words, "--out", str(tmp_path / "tricks.csv"), "--format", "csv"]) == 0
    assert (tmp_path / "tricks.csv").read_text().startswith("adds,recipe,compared with,")
    assert main([*words, "--resamples", "10"]) == 1
    assert "10 resamples are too few" in capsys.readouterr().err
