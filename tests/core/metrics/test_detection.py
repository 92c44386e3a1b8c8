"""Average precision against the development kit's rules in NumPy, mmdet and pycocotools."""

from __future__ import annotations

import contextlib
import io
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from mmdet.evaluation.functional import eval_map
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from core.metrics import detection
from core.metrics.detection import DetectionResults, Detections, GroundTruth, Matches
from core.metrics.statistic import values

CLASSES = ("cat", "dog", "hen", "owl")


@dataclass
class Truth:
    image: int
    label: int
    box: np.ndarray
    difficult: bool


@dataclass
class Found:
    image: int
    label: int
    box: np.ndarray
    score: float


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of boxes that include their last pixel, as the kit has it."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return width * height / (areas[0] + areas[1] - width * height)


def _kit(truths: list[Truth], found: list[Found], label: int, eleven: bool) -> float | None:
    """VOCevaldet.m for one class; None where the class has no object that counts."""
    mine = [t for t in truths if t.label == label]
    positives = sum(not t.difficult for t in mine)
    if not positives:
        return None
    taken: set[int] = set()
    right, wrong = [], []
    for guess in sorted((f for f in found if f.label == label), key=lambda f: -f.score):
        best, overlap = None, -1.0
        for index, truth in enumerate(mine):
            if truth.image == guess.image:
                shared = _overlap(guess.box, truth.box)
                if shared > overlap:
                    best, overlap = index, shared
        hit = best is not None and overlap >= 0.5
        if hit and mine[best].difficult:
            right.append(0)
            wrong.append(0)  # counts neither for nor against
        elif hit and best not in taken:
            taken.add(best)
            right.append(1)
            wrong.append(0)
        else:
            right.append(0)
            wrong.append(1)  # a miss, or an object found twice
    true, false = np.cumsum(right), np.cumsum(wrong)
    recall = true / positives
    precision = true / np.maximum(true + false, 1)
    if eleven:
        # the steps as Python ports of the kit compute them: 3 * 0.1 is a little more than 0.3
        steps = np.arange(0.0, 1.1, 0.1)
        return sum(max(precision[recall >= t], default=0.0) for t in steps) / 11
    area, last = 0.0, 0.0
    for index in range(len(recall)):
        if recall[index] > last:
            area += (recall[index] - last) * precision[index:].max()
            last = recall[index]
    return area


def _kit_mean(truths: list[Truth], found: list[Found], eleven: bool) -> float:
    every = [_kit(truths, found, label, eleven) for label in range(len(CLASSES))]
    counted = [ap for ap in every if ap is not None]
    return 100 * float(np.mean(counted)) if counted else 0.0


def _results(truths: list[Truth], found: list[Found], images: int) -> DetectionResults:
    def column(things: list, name: str, kind: type) -> np.ndarray:
        return np.array([getattr(thing, name) for thing in things], kind)

    detections, ground_truth = [], []
    for image in range(images):
        mine = [f for f in found if f.image == image]
        there = [t for t in truths if t.image == image]
        detections.append(
            Detections(
                column(mine, "box", np.float32).reshape(-1, 4),
                column(mine, "score", np.float32),
                column(mine, "label", int),
            )
        )
        ground_truth.append(
            GroundTruth(
                column(there, "box", np.float32).reshape(-1, 4),
                column(there, "label", int),
                column(there, "difficult", bool),
            )
        )
    names = tuple(f"image {i}" for i in range(images))
    return DetectionResults(CLASSES, names, tuple(detections), tuple(ground_truth))


def _measure(truths: list[Truth], found: list[Found], images: int) -> dict[str, float]:
    return values(_results(truths, found, images))


def _random_case(
    seed: int, labels: int, ties: bool = False, images: int | None = None
) -> tuple[list[Truth], list[Found], int]:
    rng = np.random.default_rng(seed)
    images = images or int(rng.integers(1, 7))
    truths, boxes = [], []
    for image in range(images):
        for _ in range(rng.integers(0, 5)):
            corner, extent = rng.uniform(0, 60, 2), rng.uniform(4, 30, 2)
            box = np.concatenate([corner, corner + extent])
            truths.append(Truth(image, int(rng.integers(labels)), box, bool(rng.random() < 0.25)))
    truths.append(Truth(0, 0, np.array([5.0, 5, 30, 30]), False))
    for truth in truths:
        for _ in range(rng.integers(0, 4)):  # missed, found, found twice ...
            moved = truth.box + rng.normal(0, 1.5, 4)
            label = truth.label if rng.random() < 0.9 else int(rng.integers(labels))
            boxes.append((truth.image, label, moved))
    for _ in range(rng.integers(0, 8)):
        corner = rng.uniform(0, 60, 2)
        box = np.concatenate([corner, corner + rng.uniform(4, 30, 2)])
        boxes.append((int(rng.integers(images)), int(rng.integers(labels)), box))
    scores = rng.permutation(len(boxes)) / (len(boxes) + 1)
    if ties:  # three scores in all
        scores = np.floor(3 * scores) / 3
    found = [Found(*box, float(score)) for box, score in zip(boxes, scores, strict=True)]
    for thing in (*truths, *found):
        thing.box = thing.box.astype(np.float32).astype(np.float64)
    return truths, found, images


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(24))
def test_random_cases_agree_with_the_kit(seed: int, ties: bool):
    # with two or three of the four classes in use, the others are empty
    truths, found, images = _random_case(seed, labels=2 + seed % 3, ties=ties)
    if ties:  # equal scores stand in the order of the images, as in the kit's files
        found.sort(key=lambda f: f.image)
    measured = _measure(truths, found, images)
    expected = {
        "map": _kit_mean(truths, found, eleven=True),
        "map_all_point": _kit_mean(truths, found, eleven=False),
    }
    assert measured == pytest.approx(expected, abs=1e-9)


def test_the_random_cases_have_what_they_are_to_test():
    cases = [_random_case(seed, labels=2 + seed % 3) for seed in range(24)]
    means = [_kit_mean(truths, found, True) for truths, found, _ in cases]
    assert len({round(m, 3) for m in means}) > 15
    assert sum(10 < m < 90 for m in means) > 12
    assert any(t.difficult for truths, _, _ in cases for t in truths)
    assert {images for _, _, images in cases} >= {1, 2, 5}


def test_a_hand_worked_case():
    # Two cats. Ranked: hit, miss, hit. Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1.
    truths = [Truth(image, 0, np.array([0, 0, 9, 9]), False) for image in (0, 1)]
    found = [
        Found(0, 0, np.array([0, 0, 9, 9]), 0.9),
        Found(0, 0, np.array([50, 50, 59, 59]), 0.8),
        Found(1, 0, np.array([0, 0, 9, 9]), 0.7),
    ]
    measured = _measure(truths, found, 2)
    assert measured["map"] == pytest.approx(100 * (6 * 1 + 5 * 2 / 3) / 11, abs=1e-4)
    assert measured["map_all_point"] == pytest.approx(100 * (1 / 2 + 1 / 2 * 2 / 3), abs=1e-4)


def test_perfect_detections_are_100_percent():
    truths, _, images = _random_case(3, labels=4)
    sure = [
        Found(t.image, t.label, t.box, 1 - i / 100) for i, t in enumerate(truths)
    ]  # the difficult ones too: they do no harm
    measured = _measure(truths, sure, images)
    assert measured == pytest.approx({"map": 100, "map_all_point": 100}, abs=1e-4)


def test_nothing_found_is_0_percent():
    truths, _, images = _random_case(3, labels=4)
    assert _measure(truths, [], images) == {"map": 0, "map_all_point": 0}


def test_a_box_includes_its_last_pixel():
    # 10 x 10 and 10 x 5 pixels: an overlap of 50 / 100, enough; of differences 36 / 81 is not
    truths = [Truth(0, 0, np.array([0, 0, 9, 9]), False)]
    assert _measure(truths, [Found(0, 0, np.array([0, 0, 9, 4]), 0.9)], 1)["map"] == pytest.approx(
        100
    )
    assert _measure(truths, [Found(0, 0, np.array([0, 0, 9, 3]), 0.9)], 1)["map"] == 0


def test_finding_an_object_twice_is_an_error():
    truths = [Truth(0, 0, np.array([x, 0, x + 9, 9]), False) for x in (0, 40)]
    twice = [Found(0, 0, np.array([0, 0, 9, 9]), s) for s in (0.9, 0.8)]
    last = Found(0, 0, np.array([40, 0, 49, 9]), 0.7)
    # precision 1, 1/2, 2/3
    measured = _measure(truths, [*twice, last], 1)
    assert measured["map_all_point"] == pytest.approx(100 * (1 + 2 / 3) / 2)


def test_a_difficult_object_counts_neither_way():
    easy = Truth(0, 0, np.array([0, 0, 9, 9]), False)
    difficult = Truth(0, 0, np.array([40, 0, 49, 9]), True)
    hit = Found(0, 0, np.array([0, 0, 9, 9]), 0.5)
    on_difficult = [Found(0, 0, np.array([40, 0, 49, 9]), s) for s in (0.9, 0.8)]
    assert _measure([easy, difficult], [hit], 1)["map"] == pytest.approx(100)
    assert _measure([easy, difficult], [hit, *on_difficult], 1)["map"] == pytest.approx(100)
    # were it no object at all, the two would stand before the hit: precision 1/3
    assert _measure([easy], [hit, *on_difficult], 1)["map"] == pytest.approx(100 / 3)


# ---- beside other libraries


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("metric", "mode"), [("map", "11points"), ("map_all_point", "area")])
def test_random_cases_agree_with_mmdet(seed: int, metric: str, mode: str):
    results = _results(*_random_case(seed, labels=4))
    detections = [
        [
            np.column_stack([f.boxes[f.labels == label], f.scores[f.labels == label]])
            for label in range(4)
        ]
        for f in results.detections
    ]
    annotations = [
        dict(
            bboxes=t.boxes[~t.difficult],
            labels=t.labels[~t.difficult],
            bboxes_ignore=t.boxes[t.difficult],
            labels_ignore=t.labels[t.difficult],
        )
        for t in results.ground_truth
    ]
    settings = dict(logger="silent", nproc=1, use_legacy_coordinate=True, eval_mode=mode)
    theirs, _ = eval_map(detections, annotations, **settings)
    assert values(results)[metric] == pytest.approx(100 * theirs, abs=1e-4)


def _pycocotools(
    truths: list[Truth], found: list[Found], images: int, thresholds: list[float]
) -> float:
    """COCO's own way in: ground truth as its JSON, detections by loadRes."""

    def entry(thing: Truth | Found) -> dict:
        x, y, right, bottom = thing.box.tolist()
        bbox = [x, y, right - x, bottom - y]
        area = bbox[2] * bbox[3]
        return dict(image_id=thing.image, category_id=thing.label, bbox=bbox, area=area)

    annotations = [
        entry(t) | dict(id=number, iscrowd=int(t.difficult)) for number, t in enumerate(truths, 1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dict(
            info={},
            images=[dict(id=image) for image in range(images)],
            categories=[dict(id=label) for label in range(4)],
            annotations=annotations,
        )
        truth.createIndex()
        evaluation = COCOeval(
            truth, truth.loadRes([entry(f) | dict(score=f.score) for f in found]), "bbox"
        )
        if thresholds:
            evaluation.params.iouThrs = np.array(thresholds)
        evaluation.evaluate()
        evaluation.accumulate()
        if not thresholds:
            evaluation.summarize()
            return 100 * evaluation.stats[0]
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return 100 * float(precision[precision > -1].mean())


@pytest.mark.parametrize("seed", range(8))
def test_cocos_figure_is_pycocotools(seed: int):
    case = _random_case(seed, labels=4)
    ours = detection.coco_average_precision(_results(*case))
    assert ours == pytest.approx(_pycocotools(*case, []), abs=1e-9)


def test_where_the_rules_meet_all_points_are_near_pycocotools():
    """Large boxes, none difficult, each found at most once: the rest of the rules is the same.

    COCO reads the curve at 101 recalls, which moves a class's figure by up to a hundredth.
    """
    rng = np.random.default_rng(0)
    truths, found = [], []
    for image in range(40):
        for slot in range(3):
            box = np.array([400.0 * slot, 0, 400 * slot + 300, 300]) + rng.uniform(0, 50, 4)
            truths.append(Truth(image, int(rng.integers(4)), box, False))
            if rng.random() < 0.8:
                label = truths[-1].label if rng.random() < 0.7 else int(rng.integers(4))
                found.append(Found(image, label, box + rng.normal(0, 5, 4), float(rng.random())))
    ours = _measure(truths, found, 40)["map_all_point"]
    assert 30 < ours < 70
    assert ours == pytest.approx(_pycocotools(truths, found, 40, [0.5]), abs=1)


def test_nothing_there_or_found_is_0():
    results = _results([], [], 1)
    assert values(results) == {"map": 0, "map_all_point": 0}
    assert detection.coco_average_precision(results) == 0


# ---- weights, as of resampled images, against the kit on literally repeated images


def _weights(images: int, resamples: int, seed: int = 0) -> np.ndarray:
    """How often each image is drawn, of as many draws as images, with replacement."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(images, np.full(images, 1 / images), resamples).astype(float)


def _repeated(things: list, counts: np.ndarray) -> list:
    """Every image's objects or detections so many times, in images of their own."""
    return [
        replace(thing, image=new)
        for new, old in enumerate(np.repeat(np.arange(len(counts)), counts.astype(int)))
        for thing in things
        if thing.image == old
    ]


def _kits(truths: list[Truth], found: list[Found], weights: np.ndarray) -> dict[str, list[float]]:
    repeated = [(_repeated(truths, counts), _repeated(found, counts)) for counts in weights]
    return {
        "map": [_kit_mean(*one, eleven=True) for one in repeated],
        "map_all_point": [_kit_mean(*one, eleven=False) for one in repeated],
    }


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_weighted_map_is_the_kits_of_repeated_images(seed: int, ties: bool):
    truths, found, images = _random_case(seed, labels=3, images=24)
    truths = [t for t in truths if t.label != 2]  # a class that is found, but not there
    found.sort(key=lambda f: f.image)
    if ties:  # over images: within one, the copies of two equal ones would alternate
        for rank, guess in enumerate(found):
            guess.score = (rank % 20) / 20
        assert len(found) > 40  # so that some tie
    weights = _weights(images, 100, seed)
    expected = _kits(truths, found, weights)
    for metric, statistic in _results(truths, found, images).statistics().items():
        assert statistic(weights) == pytest.approx(expected[metric], abs=1e-9)
        assert np.ptp(expected[metric]) > 1


@pytest.mark.parametrize(
    ("images", "objects", "detections"), [(1, 9, 9), (1, 0, 9), (5, 9, 0), (5, 0, 0), (3, 1, 1)]
)
def test_weighted_map_of_little(images: int, objects: int, detections: int):
    truths, found, _ = _random_case(7, labels=3, images=images)
    truths, found = truths[:objects], found[:detections]
    weights = _weights(images, 50)
    expected = _kits(truths, found, weights)
    for metric, statistic in _results(truths, found, images).statistics().items():
        assert statistic(weights).tolist() == pytest.approx(expected[metric], abs=1e-9)


def test_equal_scores_within_an_image_keep_the_detectors_order():
    truth = [Truth(0, 0, np.array([0, 0, 30, 30]), False)]
    found = [
        Found(0, 0, np.array([50, 50, 80, 80]), 0.5),
        Found(0, 0, np.array([0, 0, 30, 30]), 0.5),
    ]
    statistic = _results(truth, found, 1).statistics()["map_all_point"]
    # a wrong one before the right one, however often the image is drawn
    assert statistic(np.array([[1.0], [3.0]])).tolist() == [50.0, 50.0]


def test_resampling_vocs_test_set_takes_seconds():
    generator = np.random.default_rng(0)
    images, per_image = 4952, 100
    count = images * per_image // 20
    matches = [
        Matches(
            images=np.sort(generator.integers(images, size=count)),
            scores=generator.random(count),
            outcomes=(generator.random(count) < 0.03).astype(np.int64),
            objects=generator.integers(0, 2, images),
        )
        for _ in range(20)
    ]
    weights = _weights(images, 200)
    began = time.process_time()
    found = detection.mean_average_precision(matches, "11-point")(weights)
    assert found.shape == (200,)
    assert time.process_time() - began < 10  # docs/statistics.md has 0.5 s for 1,000


# ---- the file of detections


def test_what_is_read_is_what_was_written(tmp_path: Path):
    results = _results(*_random_case(5, labels=4))
    detection.save(tmp_path / "detections.npz", results)
    kept = detection.load(tmp_path / "detections.npz")
    assert kept.classes == CLASSES
    assert kept.images == results.images
    for ours, original in zip(kept.detections, results.detections, strict=True):
        assert ours.boxes.dtype == ours.scores.dtype == np.float32
        np.testing.assert_array_equal(ours.boxes, original.boxes)
        np.testing.assert_array_equal(ours.scores, original.scores)
        np.testing.assert_array_equal(ours.labels, original.labels)
    for ours, original in zip(kept.ground_truth, results.ground_truth, strict=True):
        np.testing.assert_array_equal(ours.boxes, original.boxes)
        np.testing.assert_array_equal(ours.labels, original.labels)
        np.testing.assert_array_equal(ours.difficult, original.difficult)
    assert values(kept) == values(results)
    assert values(kept)["map"] > 0
    ours, originals = (detection.coco_average_precision(it) for it in (kept, results))
    assert ours == originals > 0


def test_images_without_anything_are_kept(tmp_path: Path):
    detection.save(tmp_path / "d.npz", _results([], [], 2))
    kept = detection.load(tmp_path / "d.npz")
    assert [f.boxes.shape for f in kept.detections] == [(0, 4)] * 2
    assert [len(t.labels) for t in kept.ground_truth] == [0, 0]
