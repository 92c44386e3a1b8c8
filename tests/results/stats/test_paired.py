"""Comparisons against plain loops, and what is refused, missing or not significant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from core import files, record, runs
from core.metrics import classification
from core.record import Record, RecordError
from core.tasks import CORRECT
from results.__main__ import main
from results.analysis import pairwise
from results.stats import paired, per_image
from results.stats.intervals import resamples
from results.tables import custom
from results.tables.fill import Table, build, ranked
from results.tables.index import Index
from results.tables.render import FORMATS

Make = Callable[..., Record]
Right = list[list[bool]]
FEW = 400


class Kept:
    """Runs in a folder, each with the correctness of every test image."""

    def __init__(self, folder: Path, make: Make) -> None:
        self.folder, self.make = folder, make
        self.runs: list[Record] = []
        self.folders: dict[str, Path] = {}

    def add(
        self,
        recipe: str,
        right: Any,
        seed: int = 0,
        keep: bool = True,
        counted: Any = None,
        **fields: Any,
    ) -> Path:
        """A linear probe; returns its folder."""
        right = np.asarray(right, bool)
        fields = {"task": "linear-cifar10", "mirrors": "cifar10", "split": "test"} | fields
        where = runs.run_folder(self.folder, "demo", fields["task"], recipe, seed)
        outputs = {}
        if keep:
            where.mkdir(parents=True)
            path = classification.save(where, right[:, None], counted)
            outputs = {path.name: files.sha256_of(path)}
        values = {"top1": 100 * right.mean()}
        run = self.make(
            **({"stage": "linear", "values": values, "samples": len(right)} | fields),
            recipe=recipe,
            seed=seed,
            outputs=outputs,
        )
        record.write(run, where / "record.json")
        self.runs.append(run)
        self.folders[f"{run.task}/{recipe}/seed{seed}"] = where
        return where

    def table(self, *backbones: str) -> Table:
        index = Index(self.runs)
        return build(custom.declare(index, backbones, [], []), index, {})

    def compare_two(self, *backbones: str) -> list[str]:
        return pairwise.compare_two(self.table(*backbones), self.folders, FEW)

    def sides(self, *backbones: str, count: int = FEW) -> list[paired.Side]:
        table = self.table(*backbones)
        cells = {row.heading: it[0] for row, it in zip(table.rows, table.cells, strict=True)}
        return paired.sides(cells, "top1", self.folders, count)


@pytest.fixture
def kept(tmp_path: Path, make: Make) -> Kept:
    return Kept(tmp_path, make)


def answers(share: float, seed: int, images: int = 200) -> np.ndarray:
    return np.random.default_rng(seed).random(images) < share


def test_the_difference_is_of_the_same_resampled_images(kept: Kept) -> None:
    one, other = answers(0.8, 0), answers(0.65, 1)
    kept.add("one", one)
    kept.add("other", other)
    found = paired.compare(*kept.sides("one", "other"))
    differences = []
    for weights in np.concatenate(list(resamples(200, FEW))):
        drawn = np.repeat(np.arange(200), weights.astype(int))
        differences.append(100 * (one[drawn].mean() - other[drawn].mean()))
    low, high = np.quantile(differences, [0.025, 0.975])
    below = sum(it <= 0 for it in differences)
    assert found.difference is not None
    assert found.gain == pytest.approx(100 * (one.mean() - other.mean()))
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high))
    assert found.p == pytest.approx(2 * (1 + below) / (1 + FEW))
    swapped = paired.compare(*kept.sides("other", "one"))
    assert (swapped.ahead.label, swapped.p, swapped.gain) == ("one", found.p, found.gain)


def test_several_seeds_are_resampled_on_both_sides(kept: Kept) -> None:
    shares = {"one": [0.6, 0.85, 0.7], "other": [0.5, 0.75]}
    for recipe, of_seeds in shares.items():
        for seed, share in enumerate(of_seeds):
            kept.add(recipe, answers(share, seed), seed)
    found = paired.compare(*kept.sides("one", "other", count=20_000))
    generator = np.random.default_rng(9)
    means = []
    for weights in np.concatenate(list(resamples(200, 4000, seed=8))):
        sides = []
        for of_seeds in shares.values():
            drawn = generator.integers(len(of_seeds), size=len(of_seeds) - 1)
            values = [100 * weights @ answers(of_seeds[i], i) / 200 for i in drawn]
            sides.append(np.mean(values))
        means.append(sides[0] - sides[1])
    low, high = np.quantile(means, [0.025, 0.975])
    assert found.difference is not None
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high), abs=1)
    assert "images and seeds" in found.basis


def test_one_seed_is_not_resampled(kept: Kept) -> None:
    for seed, share in enumerate([0.6, 0.9]):
        kept.add("one", answers(share, seed), seed)
    kept.add("other", answers(0.5, 7))
    (told,) = kept.compare_two("one", "other")
    assert "2 and 1 seeds, variation between seeds is not included" in told
    assert "paired bootstrap over images, 400" in told
    found = paired.compare(*kept.sides("one", "other"))
    weights = np.concatenate(list(resamples(200, FEW)))
    one = np.mean([weights @ answers(share, seed) for seed, share in enumerate([0.6, 0.9])], axis=0)
    expected = np.quantile((one - weights @ answers(0.5, 7)) / 2, [0.025, 0.975])
    assert found.difference is not None
    assert (found.difference.low, found.difference.high) == pytest.approx(tuple(expected))
    own = found.interval(found.ahead)  # of images alone too
    assert own is not None
    assert (own.low, own.high) == pytest.approx(tuple(np.quantile(one / 2, [0.025, 0.975])))


def test_identical_runs_do_not_differ(kept: Kept) -> None:
    for recipe in ("one", "other"):
        kept.add(recipe, answers(0.7, 0))
    (told,) = kept.compare_two("one", "other")
    assert "no significant difference: one and other" in told
    assert "differ by 0.00 points [0.00, 0.00]" in told
    assert "p = 1.000" in told


def test_the_line_names_the_better_backbone_with_interval_and_p_value(kept: Kept) -> None:
    kept.add("best", [True] * 90 + [False] * 10)
    kept.add("d-efficient", [True] * 60 + [False] * 40)
    (told,) = kept.compare_two("d-efficient", "best")
    # 30 images of 100 differ, all in favour of the best
    low, high = stats.binom.ppf([0.025, 0.975], 100, 0.3)
    assert told.startswith("linear-cifar10 top1: best is better than d-efficient by 30.00 points [")
    found = paired.compare(*kept.sides("best", "d-efficient")).difference
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), abs=1.01)
    assert f"[{found.low:.2f}, {found.high:.2f}]; best 90.00 [" in told
    for words in (
        "in % of 100 samples of split test of demo-cifar10",
        "protocol demo, 1 seed each, variation between seeds is not included",
        "paired bootstrap over images, 400 resamples, 95 % intervals, p = 0.005.",
    ):
        assert words in told


def test_one_image_is_no_evidence(kept: Kept) -> None:
    kept.add("one", [True])
    kept.add("other", [False])
    (told,) = kept.compare_two("one", "other")
    assert "nan" not in told
    assert "1 samples" in told


def test_several_tasks_are_corrected_together(kept: Kept) -> None:
    for task in ("linear-cifar10", "linear-food101"):
        kept.add("one", answers(0.9, 0), task=task)
        kept.add("other", answers(0.5, 1), task=task)
    kept.add("one", answers(0.9, 0), task="linear-pets")
    first, second, alone = kept.compare_two("one", "other")
    assert first.endswith("p = 0.005, p = 0.010 by Holm over 2 comparisons.")
    assert second.startswith("linear-food101 top1: one is better")
    assert alone == "linear-pets top1: no record of other, nothing to compare."


def test_without_per_image_results_there_is_no_significance_test(kept: Kept) -> None:
    kept.add("one", answers(0.9, 0), keep=False)
    kept.add("other", answers(0.5, 1))
    (told,) = kept.compare_two("one", "other")
    assert "one is 3" in told
    assert "points better than other, but" in told
    assert "significance cannot be tested" in told
    assert "linear-cifar10/one/seed0 has no correct.npz" in told
    assert "p =" not in told
    assert "p <" not in told


def test_without_per_image_results_seeds_have_welchs_interval(kept: Kept) -> None:
    values: dict[str, list[float]] = {"one": [], "other": []}
    for recipe, share in (("one", 0.8), ("other", 0.5)):
        for seed in range(3):
            right = answers(share, 10 + seed)
            values[recipe].append(100 * right.mean())
            kept.add(recipe, right, seed, keep=False)
    (found,) = paired.corrected([paired.compare(*kept.sides("one", "other"))])
    assert found.p == pytest.approx(stats.ttest_ind(*values.values(), equal_var=False).pvalue)
    told = pairwise.describe(found)
    assert "3 seeds each; " in told
    assert "Welch's t over seeds alone" in told


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"fingerprint": "e" * 64}, "dataset fingerprint: aaaaaaaaaaaa and eeeeeeeeeeee"),
        ({"split": "val"}, "split: test and val"),
        ({"right": [True] * 7}, "number of samples: 200 and 7"),
        ({"detail": "top 3"}, "metric detail:  and top 3"),
    ],
)
def test_runs_on_different_test_data_are_not_compared(
    kept: Kept, other: dict[str, Any], told: str
) -> None:
    kept.add("one", answers(0.8, 0))
    kept.add("other", other.pop("right", answers(0.5, 1)), **other)
    with pytest.raises(RecordError, match="cannot be compared") as error:
        kept.compare_two("one", "other")
    assert told in str(error.value)
    marked = paired.mark_ties(ranked(kept.table()), kept.folders, FEW)
    assert not marked.within_noise
    assert "not compared with the best: " in marked.notes[-1]


def test_runs_with_different_images_are_not_paired(kept: Kept) -> None:
    everything = np.arange(201)
    kept.add("one", answers(0.8, 0), counted=np.delete(everything, 7))
    kept.add("same", answers(0.5, 1), counted=np.delete(everything, 7))
    kept.add("other", answers(0.5, 1), counted=np.delete(everything, 190))
    assert "one is better than same" in kept.compare_two("one", "same")[0]
    with pytest.raises(
        RecordError, match="one, other: their per-image results are of different images"
    ):
        kept.compare_two("one", "other")
    path = kept.folders["linear-cifar10/one/seed0"] / "correct.npz"
    assert CORRECT.load(path).images == (*range(7), *range(8, 201))


def test_a_file_must_be_the_records(kept: Kept) -> None:
    where = kept.add("one", answers(0.8, 0))
    (run,) = kept.runs
    loaded = per_image.load(where, run, "top1")
    assert loaded is not None
    assert loaded.images == tuple(range(200))
    assert per_image.load(where, run, "map") is None
    without = run.model_copy(update={"metrics": run.metrics | {"top5": run.metrics["top1"]}})
    with pytest.raises(RecordError, match=r"cannot read top5 from correct\.npz"):
        per_image.load(where, without, "top5")
    right = answers(0.8, 0)
    right[:3] = ~right[:3]
    for changed, told in ((right, "the record has"), (right[:9], "9 images, the record has 200")):
        path = classification.save(where, changed[:, None])
        outputs = {path.name: files.sha256_of(path)}
        with pytest.raises(RecordError, match=told):
            per_image.load(where, run.model_copy(update={"outputs": outputs}), "top1")
    with pytest.raises(RecordError, match="its hash is not the one in the record"):
        per_image.load(where, run, "top1")
    path.write_bytes(b"PK damaged")
    outputs = {path.name: files.sha256_of(path)}
    with pytest.raises(RecordError, match="cannot read"):
        per_image.load(where, run.model_copy(update={"outputs": outputs}), "top1")


@pytest.fixture
def several(kept: Kept) -> Kept:
    """The best, one within its noise, one significantly worse, one without per-image results."""
    for recipe, right in (
        ("best", [True] * 80 + [False] * 20),
        ("close", [True] * 78 + [False] * 22),
        ("far", [True] * 30 + [False] * 70),
    ):
        kept.add(recipe, right)
    kept.add("lost", [True] * 20 + [False] * 80, keep=False)
    return kept


def test_what_is_within_the_noise_of_the_best_is_marked(several: Kept) -> None:
    marked = paired.mark_ties(ranked(several.table()), several.folders, FEW)
    assert [row.heading for row in marked.rows] == ["best", "close", "far", "lost"]
    assert marked.within_noise == {(1, 0)}
    assert marked.notes[-2].startswith("~: within the noise of the column's best (paired bootstrap")
    assert marked.notes[-1] == (
        "linear-cifar10 top1: 1 not compared with the best: linear-cifar10/lost/seed0 has no "
        "correct.npz; an interval over seeds needs at least two seeds per backbone"
    )


def test_marks_are_in_every_format(several: Kept) -> None:
    marked = paired.mark_ties(ranked(several.table()), several.folders, FEW)
    texts = {name: write(marked) for name, write in FORMATS.items()}
    assert "| 78.00 ~ |" in " ".join(texts["markdown"].split())
    assert "close & 78.00 \\textasciitilde{}" in texts["latex"]
    header, *lines = texts["csv"].splitlines()
    assert header.endswith("top1 n,linear-cifar10 top1 within noise")
    by_name = {line.split(",")[0]: line.split(",")[-1] for line in lines}
    assert by_name == {"best": "", "close": "~", "far": "", "lost": ""}
    assert "~" not in FORMATS["markdown"](ranked(several.table()))


def test_marks_are_corrected_for_the_whole_table(kept: Kept) -> None:
    right = np.array([True] * 70 + [False] * 30)
    worse = right.copy()
    worse[:5] = False
    kept.add("best", right)
    kept.add("a", worse)
    alone = paired.mark_ties(ranked(kept.table()), kept.folders, 2000)
    assert alone.within_noise == frozenset()
    for name in "bcdefghij":
        kept.add(name, worse)
    together = paired.mark_ties(ranked(kept.table()), kept.folders, 2000)
    assert together.within_noise == {(i, 0) for i in range(1, 11)}


def test_too_few_resamples_are_refused(several: Kept) -> None:
    # two comparisons: 2 * 2 / (79 + 1) = 0.05
    marked = paired.mark_ties(ranked(several.table()), several.folders, 78)
    assert marked.within_noise is None
    assert marked.notes[-2] == (
        "not compared: 78 resamples are too few for 2 comparisons at p <= 0.05; use --resamples 79 "
        "or more"
    )
    assert paired.mark_ties(ranked(several.table()), several.folders, 79).within_noise == {(1, 0)}
    table = several.table("best", "far")
    with pytest.raises(
        RecordError, match=r"38 resamples are too few for 1 .*--resamples 39 or more"
    ):
        pairwise.compare_two(table, several.folders, 38)
    assert "best is better" in pairwise.compare_two(table, several.folders, 39)[0]


def test_without_images_the_number_of_resamples_does_not_matter(kept: Kept) -> None:
    for recipe, share in (("one", 0.8), ("other", 0.5)):
        for seed in range(2):
            kept.add(recipe, answers(share, 10 + seed), seed, keep=False)
    assert "Welch" in pairwise.compare_two(kept.table(), kept.folders, 1)[0]


def test_the_command_compares_two_or_many(
    several: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--protocol", "demo", "--runs", str(several.folder), "--resamples", "500"]
    assert main(["compare", "best", "far", "--task", "linear-*", *common]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("linear-cifar10 top1: best is better than far by 50.00 points [")
    assert main(["compare", *common]) == 0
    assert "- ~: within the noise of the column's best" in capsys.readouterr().out
    for words, told in (
        (["best"], "compare takes two backbones, found 1: best"),
        (["best", "far", "close"], "found 3: best, far, close"),
        (["best", "fra"], "no record matches backbone 'fra'; found: best, close, far, lost"),
        (["best", "far", "--metric", "device_hours"], "device_hours is a cost"),
    ):
        assert main(["compare", *words, *common]) == 1
        assert told in capsys.readouterr().err
