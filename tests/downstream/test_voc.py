"""VOC's layout, and its mean average precision against the development kit's rules in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from downstream import voc
from pretrain import data
from pretrain.errors import InputError

CLASSES = ("cat", "dog", "hen", "owl")


def _annotation(objects: Sequence[tuple[str, Sequence[int], int]], size: tuple[int, int]) -> str:
    body = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>"
        f"<xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax>"
        f"</bndbox></object>"
        for name, box, difficult in objects
    )
    width, height = size
    return (
        f"<annotation><size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        f"{body}</annotation>"
    )


def _write(root: Path, split: str, pictures: dict[str, Sequence], year: str = "") -> None:
    folder = root / year
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for stem, objects in pictures.items():
        (folder / "Annotations" / f"{stem}.xml").write_text(_annotation(objects, (100, 80)))
        (folder / "JPEGImages" / f"{stem}.jpg").touch()
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(pictures) + "\n")


def _data(**changes: object) -> Config:
    values = dict(
        name="pets",
        root="pets",
        parts=dict(train=[("", "trainval")], test=[("", "test")]),
        sizes=dict(train=2, test=1),
        classes=list(CLASSES),
        get_it="make pets",
    )
    return Config(values | changes)


OBJECTS = {
    "a": [("dog", (11, 6, 50, 40), 0), ("cat", (1, 1, 20, 20), 1)],
    "b": [
        ("hen", (5, 5, 5, 30), 0),  # one pixel wide: no area where a box is a difference
        ("owl", (7, 9, 60, 9), 1),
        ("hen", (5, 5, 6, 6), 0),
        ("hen", (9, 9, 4, 20), 0),  # upside down
    ],
}


def _load(root: Path, role: str) -> list:
    (cfg,) = voc.dataset_configs(_data(), root, role, [])
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = DATASETS.build(cfg)
    return [dataset, [dataset.get_data_info(i) for i in range(len(dataset))]]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    _write(tmp_path / "pets", "trainval", OBJECTS)
    _write(tmp_path / "pets", "test", {"a": OBJECTS["a"]})
    return tmp_path


def test_difficult_objects_are_trained_on(pets: Path):
    _, (first, _) = _load(pets, "train")
    assert [i["ignore_flag"] for i in first["instances"]] == [0, 0]
    assert [i["bbox_label"] for i in first["instances"]] == [1, 0]
    # VOC counts pixels from 1
    assert [i["bbox"] for i in first["instances"]] == [[10, 5, 49, 39], [0, 0, 19, 19]]
    assert Path(first["img_path"]).samefile(pets / "pets" / "JPEGImages" / "a.jpg")


def test_difficult_objects_are_ignored_in_the_test(pets: Path):
    _, (only,) = _load(pets, "test")
    assert [i["ignore_flag"] for i in only["instances"]] == [0, 1]


def test_boxes_without_an_area_are_dropped_and_counted(pets: Path):
    dataset, (_, second) = _load(pets, "train")
    assert [i["bbox"] for i in second["instances"]] == [[4, 4, 5, 5]]
    assert dataset.dropped == 3
    tested, _ = _load(pets, "test")
    assert tested.dropped == 0


def test_the_number_of_dropped_boxes_is_logged(pets: Path, monkeypatch: pytest.MonkeyPatch):
    lines: list[str] = []
    monkeypatch.setattr(voc, "print_log", lambda line, logger: lines.append(line))
    _load(pets, "train")
    assert len(lines) == 1
    assert lines[0].startswith("left out 3 boxes without an area in ")


def test_an_unknown_class_is_named(pets: Path):
    _write(pets / "pets", "trainval", OBJECTS | {"b": [("emu", (1, 1, 9, 9), 0)]})
    with pytest.raises(InputError, match="an object of class 'emu', which is none of cat, dog"):
        _load(pets, "train")


# ---- what is read


def test_two_years_make_one_training_set(tmp_path: Path):
    root = tmp_path / "pets"
    _write(root, "trainval", {"a": []}, "VOC2007")
    _write(root, "trainval", {"b": [], "c": []}, "VOC2012")
    found = _data(
        parts=dict(train=[("VOC2007", "trainval"), ("VOC2012", "trainval")], test=[]),
        sizes=dict(train=3),
    )
    configs = voc.dataset_configs(found, tmp_path, "train", [])
    with DefaultScope.overwrite_default_scope("mmdet"):
        sets = [DATASETS.build(cfg) for cfg in configs]
    paths = [Path(part.get_data_info(i)["img_path"]) for part in sets for i in range(len(part))]
    expected = [("VOC2007", "a"), ("VOC2012", "b"), ("VOC2012", "c")]
    assert [p.resolve() for p in paths] == [
        (root / year / "JPEGImages" / f"{stem}.jpg").resolve() for year, stem in expected
    ]


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("", "no such folder"),
        ("ImageSets/Main/trainval.txt", "no such file"),
        ("JPEGImages/b.jpg", r"named in .*trainval\.txt, but not there"),
        ("Annotations/a.xml", r"named in .*trainval\.txt, but not there"),
    ],
)
def test_missing_data_are_named(pets: Path, gone: str, message: str):
    path = pets / "pets" / gone
    path.rename(pets / "elsewhere")
    with pytest.raises(InputError, match=rf"pets: .*{gone}.*{message}. To get it: make pets"):
        voc.dataset_configs(_data(), pets, "train", [])


def test_a_wrong_count_is_refused(pets: Path):
    found = _data(sizes=dict(train=5, test=1))
    with pytest.raises(
        InputError, match=r"train has 2 pictures, expected 5\. To get it: make pets"
    ):
        voc.dataset_configs(found, pets, "train", [])


def test_classes_from_a_file(pets: Path):
    (pets / "pets" / "classes.txt").write_text("owl\nhen\n")
    assert voc.class_names(_data(), pets / "pets") == CLASSES
    assert voc.class_names(_data(classes=None), pets / "pets") == ("owl", "hen")
    (pets / "pets" / "classes.txt").unlink()
    with pytest.raises(InputError, match=r"classes\.txt: no such file"):
        voc.class_names(_data(classes=None), pets / "pets")


def test_the_papers_sets_are_pinned():
    # VOC's own statistics: 2007 trainval 5,011 and test 4,952 pictures, 2012 trainval 11,540
    found = data.config("voc")
    assert found.parts == dict(
        train=[("VOC2007", "trainval"), ("VOC2012", "trainval")], test=[("VOC2007", "test")]
    )
    assert found.sizes == dict(train=5_011 + 11_540, test=4_952)
    assert len(found.classes) == 20
    assert sorted(found.classes) == found.classes


# ---- mean average precision


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


def _measure(truths: list[Truth], found: list[Found], pictures: int) -> dict[str, float]:
    """VocMap, given what mmdet gives it: a dictionary a picture, in torch."""
    metric = voc.VocMap()
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
        )
        metric.process({}, [sample])
    return metric.evaluate(pictures)


def _random_case(seed: int, labels: int) -> tuple[list[Truth], list[Found], int]:
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
    found = [Found(*box, float(score)) for box, score in zip(boxes, scores, strict=True)]
    for thing in (*truths, *found):
        thing.box = thing.box.astype(np.float32).astype(np.float64)
    return truths, found, pictures


@pytest.mark.parametrize("seed", range(24))
def test_random_cases_agree_with_the_kit(seed: int):
    # with two or three of the four classes in use, the others are empty
    truths, found, pictures = _random_case(seed, labels=2 + seed % 3)
    measured = _measure(truths, found, pictures)
    expected = {
        "map": _kit_mean(truths, found, eleven=True),
        "map_all_point": _kit_mean(truths, found, eleven=False),
    }
    assert measured == pytest.approx(expected, abs=1e-3)


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
