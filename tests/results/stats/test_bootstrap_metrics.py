"""Metrics of weighted images against the metrics of `downstream` on literally repeated images."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from core.metrics import detection, segmentation
from core.metrics.detection import Detections, Kept, Objects, Rule
from results.stats import bootstrap_metrics, intervals
from results.stats import per_image as image_scores

CLASSES = 4
RULES: tuple[Rule, ...] = ("11-point", "all-point")


def boxes(generator: np.random.Generator, count: int) -> np.ndarray:
    corners = generator.uniform(0, 60, (count, 2))
    sizes = generator.uniform(20, 60, (count, 2))
    return np.concatenate([corners, corners + sizes], axis=1).astype(np.float32)


def picture(
    generator: np.random.Generator, objects: int, detections: int
) -> tuple[Detections, Objects]:
    """Objects, some difficult, and detections of which some are on them; scores tie over images."""
    there = Objects(
        boxes(generator, objects),
        generator.integers(0, CLASSES - 1, objects).astype(np.int16),  # the last class has none
        generator.random(objects) < 0.2,
    )
    found, labels = boxes(generator, detections), generator.integers(0, CLASSES, detections)
    on = min(objects, detections)
    shift = generator.normal(0, 4, (on, 4))
    found[:on], labels[:on] = there.boxes[:on] + shift, there.labels[:on]
    levels = generator.permutation(40)[:detections] / 40
    return Detections(found, levels.astype(np.float32), labels.astype(np.int16)), there


def kept(seed: int, images: int = 12, objects: int = 4, detections: int = 9) -> Kept:
    generator = np.random.default_rng(seed)
    pairs = [
        picture(
            generator, int(generator.integers(objects + 1)), int(generator.integers(detections + 1))
        )
        for _ in range(images)
    ]
    return Kept(
        classes=tuple("abcd"),
        images=tuple(f"{i:03}" for i in range(images)),
        found=tuple(found for found, _ in pairs),
        there=tuple(there for _, there in pairs),
    )


def literally(pictures: Kept, rule: Rule, counts: np.ndarray) -> float:
    """The metric of a list that has each picture so many times."""
    chosen = np.repeat(np.arange(len(counts)), counts.astype(int))
    return detection.mean_average_precision(
        [pictures.found[i] for i in chosen],
        [pictures.there[i] for i in chosen],
        CLASSES,
        rule,
    )


def of_detections(pictures: Kept, rule: Rule, folder: Path) -> intervals.Statistic:
    """As it is read back from the run's file."""
    detection.save(folder / "detections.npz", pictures)
    metric = "map" if rule == "11-point" else "map_all_point"
    return image_scores.read(folder / "detections.npz", metric).statistic


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(6))
def test_weighted_map_is_that_of_repeated_images(rule: Rule, seed: int, tmp_path: Path) -> None:
    pictures = kept(seed)
    statistic = of_detections(pictures, rule, tmp_path)
    weights = next(intervals.resamples(12, 100, seed))
    expected = [literally(pictures, rule, counts) for counts in weights]
    assert statistic(weights) == pytest.approx(expected, abs=1e-9)
    assert np.ptp(expected) > 1
    assert statistic(np.ones((1, 12))) == pytest.approx(literally(pictures, rule, np.ones(12)))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("images", "objects", "detections"), [(1, 4, 9), (1, 0, 5), (5, 3, 0), (5, 0, 0), (3, 1, 1)]
)
def test_weighted_map_of_little(
    rule: Rule, images: int, objects: int, detections: int, tmp_path: Path
) -> None:
    pictures = kept(7, images, objects, detections)
    weights = next(intervals.resamples(images, 50))
    values = of_detections(pictures, rule, tmp_path)(weights)
    assert values == pytest.approx([literally(pictures, rule, counts) for counts in weights])
    assert np.isfinite(values).all()


def test_equal_scores_within_a_picture_keep_the_detectors_order(tmp_path: Path) -> None:
    there = Objects(
        np.array([[0, 0, 30, 30]], np.float32), np.zeros(1, np.int16), np.zeros(1, bool)
    )
    found = Detections(
        np.array([[50, 50, 80, 80], [0, 0, 30, 30]], np.float32),
        np.array([0.5, 0.5], np.float32),
        np.zeros(2, np.int16),
    )
    pictures = Kept(tuple("abcd"), ("one",), (found,), (there,))
    statistic = of_detections(pictures, "all-point", tmp_path)
    # a wrong one before the right one, however often the picture is drawn
    assert statistic(np.array([[1.0], [3.0]])).tolist() == [50.0, 50.0]


def confusions(seed: int, images: int = 9, classes: int = 5) -> segmentation.Kept:
    generator = np.random.default_rng(seed)
    cells = []
    for _ in range(images):
        places = np.flatnonzero(generator.random(classes**2) < 0.2)
        places = places[places // classes != 3]  # no truth of class 3
        cells.append(segmentation.Cells(places, generator.integers(1, 500, len(places))))
    names = tuple(map(str, range(images)))
    return segmentation.Kept(tuple("abcde"), names, tuple(cells))


@pytest.mark.parametrize("metric", ["miou", "pix_acc"])
@pytest.mark.parametrize("images", [9, 1])
def test_weighted_miou_is_that_of_summed_confusions(
    metric: str, images: int, tmp_path: Path
) -> None:
    pictures = confusions(2, images)
    segmentation.save(tmp_path / "confusion.npz", pictures)
    statistic = image_scores.read(tmp_path / "confusion.npz", metric).statistic
    weights = next(intervals.resamples(images, 100))
    expected = []
    for counts in weights:
        chosen = np.repeat(np.arange(images), counts.astype(int))
        expected.append(segmentation.from_confusion(pictures.total(chosen.tolist()))[metric])
    assert statistic(weights) == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["miou", "pix_acc"])
def test_no_labelled_pixel_is_zero(metric: str, tmp_path: Path) -> None:
    nothing = segmentation.Cells(np.zeros(0, np.int32), np.zeros(0, np.int64))
    segmentation.save(tmp_path / "confusion.npz", segmentation.Kept(("a",), ("one",), (nothing,)))
    statistic = image_scores.read(tmp_path / "confusion.npz", metric).statistic
    assert statistic(np.ones((2, 1))).tolist() == [0.0, 0.0]


def test_weighted_accuracy() -> None:
    right = np.array([True, False, True, True])
    weights = np.array([[1, 1, 1, 1], [0, 4, 0, 0], [2, 1, 0, 1]], float)
    assert bootstrap_metrics.accuracy(right)(weights).tolist() == [75.0, 0.0, 75.0]


def test_resampling_vocs_test_set_takes_seconds() -> None:
    generator = np.random.default_rng(0)
    images, per_image = 4952, 100
    count = images * per_image // 20
    rankings = [
        bootstrap_metrics.Ranking(
            np.sort(generator.integers(images, size=count)),
            generator.random(count),
            (generator.random(count) < 0.03).astype(np.int64),
        )
        for _ in range(20)
    ]
    objects = generator.integers(0, 2, (images, 20))
    statistic = bootstrap_metrics.mean_average_precision(rankings, objects, "11-point")
    began = time.process_time()
    values = intervals.replicates([statistic], images, 200)
    assert values.shape == (1, 200)
    assert time.process_time() - began < 10  # docs/statistics.md has 0.5 s for 1,000
