"""Pixel accuracy and mean IoU against counting in NumPy and mmseg, of weighted images too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmseg.evaluation.metrics import IoUMetric

from core.metrics import segmentation
from core.metrics.segmentation import Confusion, SegmentationResults
from core.metrics.statistic import values

Labels = list[np.ndarray]


def _case(seed: int) -> tuple[Labels, Labels]:
    """Seven classes, of which the last never occurs, and the one before is only ever predicted."""
    rng = np.random.default_rng(seed)
    truths = [rng.integers(0, 5, (30, 40)) for _ in range(3)]
    guesses = [np.where(rng.random(t.shape) < 0.6, t, rng.integers(0, 6, t.shape)) for t in truths]
    for truth in truths:
        truth[rng.random(truth.shape) < 0.2] = 255
    return truths, guesses


def _results(truths: Labels, guesses: Labels, classes: int) -> SegmentationResults:
    return SegmentationResults(
        classes=tuple(map(str, range(classes))),
        images=tuple(f"image{i}" for i in range(len(truths))),
        confusions=tuple(
            segmentation.count(truth, guess, classes)
            for truth, guess in zip(truths, guesses, strict=True)
        ),
    )


def _counted(truths: Labels, guesses: Labels, classes: int) -> np.ndarray:
    counts = np.zeros((classes, classes), int)
    for truth, guess in zip(truths, guesses, strict=True):
        for t, g in zip(truth.ravel(), guess.ravel(), strict=True):
            if t != 255:
                counts[t, g] += 1
    return counts


def _by_hand(counts: np.ndarray) -> dict[str, float]:
    ious = []
    for c in range(len(counts)):
        union = counts[c].sum() + counts[:, c].sum() - counts[c, c]
        if union:
            ious.append(counts[c, c] / union)
    right = sum(counts[c, c] for c in range(len(counts)))
    return {"pix_acc": 100 * right / counts.sum(), "miou": 100 * sum(ious) / len(ious)}


@pytest.mark.parametrize("seed", range(4))
def test_pixel_accuracy_and_mean_iou(seed: int) -> None:
    truths, guesses = _case(seed)
    counts = _counted(truths, guesses, 7)
    assert ((counts.sum(0) + counts.sum(1)) > 0).tolist() == [True] * 6 + [False]
    assert values(_results(truths, guesses, 7)) == pytest.approx(_by_hand(counts), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_mmseg_finds_the_same_but_for_its_rounding(seed: int) -> None:
    truths, guesses = _case(seed)
    theirs = IoUMetric()
    theirs.dataset_meta = dict(classes=[str(c) for c in range(7)])
    samples = [
        dict(
            pred_sem_seg=dict(data=torch.from_numpy(guess)[None]),
            gt_sem_seg=dict(data=torch.from_numpy(truth)[None]),
        )
        for truth, guess in zip(truths, guesses, strict=True)
    ]
    theirs.process({}, samples)
    found, ours = theirs.evaluate(3), values(_results(truths, guesses, 7))
    assert ours["pix_acc"] == pytest.approx(found["aAcc"], abs=0.0051)
    assert ours["miou"] == pytest.approx(found["mIoU"], abs=0.0051)


def test_a_hand_worked_case() -> None:
    truth = np.array([[0, 0, 1, 1], [1, 1, 255, 255]])
    guess = np.array([[0, 1, 1, 1], [1, 0, 0, 1]])
    # 4 of 6 right; class 0: 1 of 3, class 1: 3 of 5
    measured = values(_results([truth], [guess], 2))
    assert measured["pix_acc"] == pytest.approx(100 * 4 / 6)
    assert measured["miou"] == pytest.approx(100 * (1 / 3 + 3 / 5) / 2)


def test_label_maps_of_bytes() -> None:
    """150 classes: a cell's index does not fit into a byte."""
    truth, guess = np.array([[149, 3, 255]], np.uint8), np.array([[149, 7, 1]], np.uint8)
    found = segmentation.count(truth, guess, 150)
    assert found.cells.tolist() == [3 * 150 + 7, 149 * 150 + 149]
    assert found.pixels.tolist() == [1, 1]


def test_images_of_which_nothing_is_labelled() -> None:
    nothing = np.full((4, 5), 255)
    results = _results([nothing], [np.zeros((4, 5), int)], 3)
    assert values(results) == {"pix_acc": 0, "miou": 0}
    for statistic in results.statistics().values():
        assert statistic(np.ones((2, 1))).tolist() == [0, 0]


def test_a_label_that_is_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match="true labels 0 to 3, expected 0 to 2, or 255"):
        segmentation.count(np.array([[0, 3]]), np.zeros((1, 2), int), 3)


# ---- weights, as of resampled images


def _random_confusions(seed: int, images: int = 9, classes: int = 5) -> list[Confusion]:
    generator = np.random.default_rng(seed)
    confusions = []
    for _ in range(images):
        cells = np.flatnonzero(generator.random(classes**2) < 0.2)
        cells = cells[cells // classes != 3]  # no truth of class 3
        confusions.append(Confusion(cells, generator.integers(1, 500, len(cells))))
    return confusions


def _dense(confusion: Confusion, classes: int) -> np.ndarray:
    counts = np.zeros(classes**2, int)
    counts[confusion.cells] = confusion.pixels
    return counts.reshape(classes, classes)


@pytest.mark.parametrize("images", [9, 1])
def test_weighted_metrics_are_those_of_summed_confusions(images: int) -> None:
    confusions = _random_confusions(2, images)
    names = tuple(map(str, range(images)))
    statistics = SegmentationResults(tuple("abcde"), names, tuple(confusions)).statistics()
    generator = np.random.default_rng(0)
    weights = generator.multinomial(images, np.full(images, 1 / images), 100)
    expected = []
    for counts in weights:
        drawn = np.repeat(np.arange(images), counts)
        expected.append(_by_hand(np.sum([_dense(confusions[i], 5) for i in drawn], axis=0)))
    for metric, statistic in statistics.items():
        found = statistic(weights.astype(float))
        assert found == pytest.approx([one[metric] for one in expected])


# ---- the file of confusions


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    truths, guesses = _case(1)
    truths.append(np.full((2, 2), 255))  # nothing is labelled
    guesses.append(np.zeros((2, 2), int))
    results = _results(truths, guesses, 7)
    segmentation.save(tmp_path / "confusion.npz", results)
    kept = segmentation.load(tmp_path / "confusion.npz")
    assert kept.images == ("image0", "image1", "image2", "image3")
    assert kept.classes == tuple("0123456")
    assert values(kept) == values(results)
    for confusion, truth, guess in zip(kept.confusions, truths, guesses, strict=True):
        np.testing.assert_array_equal(_dense(confusion, 7), _counted([truth], [guess], 7))
