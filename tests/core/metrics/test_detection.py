"""Average precision against the development kit's rules in NumPy, mmdet's and pycocotools."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.evaluation.functional import eval_map
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from core.metrics import detection as detection_metrics
from core.metrics.detection import Detections, Kept, Objects
from downstream.detection import voc

CLASSES = ("cat", "dog", "hen", "owl")
MAPS = ("map", "map_all_point")


@dataclass
class Truth:
    picture: int
    label: int
    box: np.ndarray
    difficult: bool


@dataclass
class Found:
    picture: int
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
    for detection in sorted((f for f in found if f.label == label), key=lambda f: -f.score):
        best, overlap = None, -1.0
        for index, truth in enumerate(mine):
            if truth.picture == detection.picture:
                value = _overlap(detection.box, truth.box)
                if value > overlap:
                    best, overlap = index, value
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
    return 100 * float(np.mean([ap for ap in every if ap is not None]))


def _every_figure(
    truths: list[Truth], found: list[Found], pictures: int, keep: Path | None = None
) -> dict[str, float]:
    """VocMap, given what mmdet gives it: a dictionary a picture, in torch."""
    metric = voc.VocMap(keep=None if keep is None else str(keep))
    metric.dataset_meta = dict(classes=CLASSES)

    def instances(chosen: list, **more: list) -> dict[str, torch.Tensor]:
        boxes = np.array([c.box for c in chosen], np.float32).reshape(-1, 4)
        labels = torch.tensor([c.label for c in chosen], dtype=torch.int64)
        rest = {key: torch.tensor(value, dtype=torch.float32) for key, value in more.items()}
        return dict(bboxes=torch.from_numpy(boxes), labels=labels, **rest)

    for picture in range(pictures):
        here = [t for t in truths if t.picture == picture]
        guesses = [f for f in found if f.picture == picture]
        sample = dict(
            gt_instances=instances([t for t in here if not t.difficult]),
            ignored_instances=instances([t for t in here if t.difficult]),
            pred_instances=instances(guesses, scores=[f.score for f in guesses]),
            img_id=f"picture {picture}",
        )
        metric.process({}, [sample])
    return metric.evaluate(pictures)


def _measure(truths: list[Truth], found: list[Found], pictures: int) -> dict[str, float]:
    return {k: v for k, v in _every_figure(truths, found, pictures).items() if k in MAPS}


def _random_case(
    seed: int, labels: int, ties: bool = False
) -> tuple[list[Truth], list[Found], int]:
    rng = np.random.default_rng(seed)
    pictures = int(rng.integers(1, 7))
    truths, boxes = [], []
    for picture in range(pictures):
        for _ in range(rng.integers(0, 5)):
            corner, extent = rng.uniform(0, 60, 2), rng.uniform(4, 30, 2)
            box = np.concatenate([corner, corner + extent])
            truths.append(Truth(picture, int(rng.integers(labels)), box, bool(rng.random() < 0.25)))
    truths.append(Truth(0, 0, np.array([5.0, 5, 30, 30]), False))
    for truth in truths:
        for _ in range(rng.integers(0, 4)):  # missed, found, found twice ...
            moved = truth.box + rng.normal(0, 1.5, 4)
            label = truth.label if rng.random() < 0.9 else int(rng.integers(labels))
            boxes.append((truth.picture, label, moved))
    for _ in range(rng.integers(0, 8)):
        corner = rng.uniform(0, 60, 2)
        box = np.concatenate([corner, corner + rng.uniform(4, 30, 2)])
        boxes.append((int(rng.integers(pictures)), int(rng.integers(labels)), box))
    scores = rng.permutation(len(boxes)) / (len(boxes) + 1)
    if ties:  # three scores in all
        scores = np.floor(3 * scores) / 3
    found = [Found(*box, float(score)) for box, score in zip(boxes, scores, strict=True)]
    for thing in (*truths, *found):
        thing.box = thing.box.astype(np.float32).astype(np.float64)
    return truths, found, pictures


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(24))
def test_random_cases_agree_with_the_kit(seed: int, ties: bool):
    # with two or three of the four classes in use, the others are empty
    truths, found, pictures = _random_case(seed, labels=2 + seed % 3, ties=ties)
    if ties:  # equal scores stand in the order of the pictures, as in the kit's files
        found.sort(key=lambda f: f.picture)
    measured = _measure(truths, found, pictures)
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
    assert {pictures for _, _, pictures in cases} >= {1, 2, 5}


def test_a_hand_worked_case():
    # Two cats. Ranked: hit, miss, hit. Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1.
    truths = [
        Truth(0, 0, np.array([0, 0, 9, 9]), False),
        Truth(1, 0, np.array([0, 0, 9, 9]), False),
    ]
    found = [
        Found(0, 0, np.array([0, 0, 9, 9]), 0.9),
        Found(0, 0, np.array([50, 50, 59, 59]), 0.8),
        Found(1, 0, np.array([0, 0, 9, 9]), 0.7),
    ]
    measured = _measure(truths, found, 2)
    assert measured["map"] == pytest.approx(100 * (6 * 1 + 5 * 2 / 3) / 11, abs=1e-4)
    assert measured["map_all_point"] == pytest.approx(100 * (1 / 2 + 1 / 2 * 2 / 3), abs=1e-4)


def test_perfect_detections_are_100_percent():
    truths, _, pictures = _random_case(3, labels=4)
    sure = [
        Found(t.picture, t.label, t.box, 1 - i / 100) for i, t in enumerate(truths)
    ]  # the difficult ones too: they do no harm
    measured = _measure(truths, sure, pictures)
    assert measured == pytest.approx({"map": 100, "map_all_point": 100}, abs=1e-4)


def test_nothing_found_is_0_percent():
    truths, _, pictures = _random_case(3, labels=4)
    assert _measure(truths, [], pictures) == {"map": 0, "map_all_point": 0}


def test_a_box_includes_its_last_pixel():
    # 10 x 10 and 10 x 5 pixels: an overlap of 50 / 100, enough; of differences 36 / 81 is not
    truths = [Truth(0, 0, np.array([0, 0, 9, 9]), False)]
    assert _measure(truths, [Found(0, 0, np.array([0, 0, 9, 4]), 0.9)], 1)["map"] == pytest.approx(
        100
    )
    assert _measure(truths, [Found(0, 0, np.array([0, 0, 9, 3]), 0.9)], 1)["map"] == 0


def test_finding_an_object_twice_is_an_error():
    truths = [
        Truth(0, 0, np.array([0, 0, 9, 9]), False),
        Truth(0, 0, np.array([40, 0, 49, 9]), False),
    ]
    twice = [Found(0, 0, np.array([0, 0, 9, 9]), s) for s in (0.9, 0.8)]
    last = Found(0, 0, np.array([40, 0, 49, 9]), 0.7)
    # precision 1, 1/2, 2/3
    assert _measure(truths, [*twice, last], 1)["map_all_point"] == pytest.approx(
        100 * (1 + 2 / 3) / 2
    )


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


def _arrays(
    truths: list[Truth], found: list[Found], pictures: int
) -> tuple[list[Detections], list[Objects]]:
    def column(values: list, kind: type) -> np.ndarray:
        return np.array(values, kind)

    detections, objects = [], []
    for picture in range(pictures):
        mine = [f for f in found if f.picture == picture]
        there = [t for t in truths if t.picture == picture]
        detections.append(
            Detections(
                column([f.box for f in mine], np.float32).reshape(-1, 4),
                column([f.score for f in mine], np.float32),
                column([f.label for f in mine], int),
            )
        )
        objects.append(
            Objects(
                column([t.box for t in there], np.float32).reshape(-1, 4),
                column([t.label for t in there], int),
                column([t.difficult for t in there], bool),
            )
        )
    return detections, objects


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("rule", "mode"), [("11-point", "11points"), ("all-point", "area")])
def test_random_cases_agree_with_mmdet(seed: int, rule: str, mode: str):
    found, there = _arrays(*_random_case(seed, labels=4))
    detections = [
        [
            np.column_stack([f.boxes[f.labels == label], f.scores[f.labels == label]])
            for label in range(4)
        ]
        for f in found
    ]
    annotations = [
        dict(
            bboxes=t.boxes[~t.difficult],
            labels=t.labels[~t.difficult],
            bboxes_ignore=t.boxes[t.difficult],
            labels_ignore=t.labels[t.difficult],
        )
        for t in there
    ]
    theirs, _ = eval_map(
        detections,
        annotations,
        logger="silent",
        nproc=1,
        use_legacy_coordinate=True,
        eval_mode=mode,
    )
    ours = detection_metrics.mean_average_precision(found, there, 4, rule)
    assert ours == pytest.approx(100 * theirs, abs=1e-4)


def _pycocotools(found: list[Detections], there: list[Objects], thresholds: list) -> float:
    """COCO's own way in: ground truth as its JSON, detections by loadRes."""

    def sides(box: np.ndarray) -> list[float]:
        return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]

    annotations, results = [], []
    for image, (f, t) in enumerate(zip(found, there, strict=True)):
        for box, label, crowd in zip(t.boxes.astype(float), t.labels, t.difficult, strict=True):
            x, y, w, h = sides(box)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image,
                    category_id=int(label),
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=int(crowd),
                )
            )
        for box, label, score in zip(f.boxes.astype(float), f.labels, f.scores, strict=True):
            results.append(
                dict(image_id=image, category_id=int(label), bbox=sides(box), score=float(score))
            )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dict(
            info={},
            images=[dict(id=image) for image in range(len(there))],
            categories=[dict(id=label) for label in range(4)],
            annotations=annotations,
        )
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
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
    found, there = _arrays(*_random_case(seed, labels=4))
    ours = detection_metrics.coco_average_precision(found, there, 4)
    assert ours == pytest.approx(_pycocotools(found, there, []), abs=1e-9)


def test_where_the_rules_meet_all_points_are_near_pycocotools():
    """Large boxes, none difficult, each found at most once: the rest of the rules is the same.

    COCO reads the curve at 101 recalls, which moves a class's figure by up to a hundredth.
    """
    rng = np.random.default_rng(0)
    truths, found = [], []
    for picture in range(40):
        for slot in range(3):
            box = np.array([400.0 * slot, 0, 400 * slot + 300, 300]) + rng.uniform(0, 50, 4)
            truths.append(Truth(picture, int(rng.integers(4)), box, False))
            if rng.random() < 0.8:
                label = truths[-1].label if rng.random() < 0.7 else int(rng.integers(4))
                found.append(Found(picture, label, box + rng.normal(0, 5, 4), float(rng.random())))
    detections, objects = _arrays(truths, found, 40)
    ours = detection_metrics.mean_average_precision(detections, objects, 4, "all-point")
    assert 30 < ours < 70
    assert ours == pytest.approx(_pycocotools(detections, objects, [0.5]), abs=1)


def test_nothing_there_or_found_is_0():
    none = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    nothing = Objects(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool))
    assert voc.scores([none], [nothing], 4) == {"map": 0, "map_all_point": 0, "ap_coco": 0}


# ---- what is kept


def test_the_figures_follow_from_what_is_kept(tmp_path: Path):
    truths, found, pictures = _random_case(5, labels=4)
    path = tmp_path / "detections.npz"
    measured = _every_figure(truths, found, pictures, keep=path)
    kept = detection_metrics.load(path)
    assert kept.classes == CLASSES
    assert kept.images == tuple(f"picture {i}" for i in range(pictures))
    assert voc.scores(kept.found, kept.there, len(kept.classes)) == measured
    for ours, original in zip(kept.found, _arrays(truths, found, pictures)[0], strict=True):
        assert ours.boxes.dtype == ours.scores.dtype == np.float32
        np.testing.assert_array_equal(ours.boxes, original.boxes)
        np.testing.assert_array_equal(ours.scores, original.scores)
        np.testing.assert_array_equal(ours.labels, original.labels)


def test_a_sample_of_pictures_with_repeats_is_a_set_like_any():
    truths, found, pictures = _random_case(6, labels=3)
    detections, objects = _arrays(truths, found, pictures)
    chosen = np.random.default_rng(0).integers(0, pictures, pictures).tolist()
    by_hand = [
        [
            replace(thing, picture=new)
            for new, old in enumerate(chosen)
            for thing in things
            if thing.picture == old
        ]
        for things in (truths, found)
    ]
    ours = voc.scores([detections[i] for i in chosen], [objects[i] for i in chosen], 4)
    assert ours["map"] == pytest.approx(_kit_mean(*by_hand, True), abs=1e-9)
    assert ours["map_all_point"] == pytest.approx(_kit_mean(*by_hand, False), abs=1e-9)


def test_pictures_without_anything_are_kept(tmp_path: Path):
    none = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    nothing = Objects(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool))
    detection_metrics.save(
        tmp_path / "d.npz", Kept(CLASSES, ("a", "b"), (none,) * 2, (nothing,) * 2)
    )
    kept = detection_metrics.load(tmp_path / "d.npz")
    assert [f.boxes.shape for f in kept.found] == [(0, 4)] * 2
    assert [len(t.labels) for t in kept.there] == [0, 0]
