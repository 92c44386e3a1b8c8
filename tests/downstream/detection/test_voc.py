"""Data in VOC's layout, and VOC's metric."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from core import configs as core_configs
from core.errors import InputError
from core.metrics import detection
from core.metrics.statistic import values
from downstream.detection import voc

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


def _write(root: Path, split: str, images: dict[str, Sequence], year: str = "") -> None:
    folder = root / year
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for stem, objects in images.items():
        (folder / "Annotations" / f"{stem}.xml").write_text(_annotation(objects, (100, 80)))
        (folder / "JPEGImages" / f"{stem}.jpg").touch()
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(images) + "\n")


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
    with pytest.raises(InputError, match="an object of class 'emu', expected one of cat, dog"):
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
        ("JPEGImages/b.jpg", r"no such file, but .*trainval\.txt names it"),
        ("Annotations/a.xml", r"no such file, but .*trainval\.txt names it"),
    ],
)
def test_missing_data_are_named(pets: Path, gone: str, message: str):
    path = pets / "pets" / gone
    path.rename(pets / "elsewhere")
    with pytest.raises(InputError, match=rf"pets: .*{gone}.*{message}. To get it: make pets"):
        voc.dataset_configs(_data(), pets, "train", [])


def test_a_wrong_count_is_refused(pets: Path):
    found = _data(sizes=dict(train=5, test=1))
    with pytest.raises(InputError, match=r"train has 2 images, expected 5\. To get it: make pets"):
        voc.dataset_configs(found, pets, "train", [])


def test_classes_from_a_file(pets: Path):
    (pets / "pets" / "classes.txt").write_text("owl\nhen\n")
    assert voc.class_names(_data(), pets / "pets") == CLASSES
    assert voc.class_names(_data(classes=None), pets / "pets") == ("owl", "hen")
    (pets / "pets" / "classes.txt").unlink()
    with pytest.raises(InputError, match=r"classes\.txt: no such file"):
        voc.class_names(_data(classes=None), pets / "pets")


def test_the_papers_sets_are_pinned():
    # VOC's own statistics: 2007 trainval 5,011 and test 4,952 images, 2012 trainval 11,540
    found = core_configs.config("voc")
    assert found.parts == dict(
        train=[("VOC2007", "trainval"), ("VOC2012", "trainval")], test=[("VOC2007", "test")]
    )
    assert found.sizes == dict(train=5_011 + 11_540, test=4_952)
    assert len(found.classes) == 20
    assert sorted(found.classes) == found.classes


# ---- the metric


def _instances(boxes: Sequence, labels: Sequence, **more: Sequence) -> dict[str, torch.Tensor]:
    return dict(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
        **{key: torch.tensor(value) for key, value in more.items()},
    )


def test_the_metric_measures_and_keeps_every_image(tmp_path: Path):
    """VocMap's scores for inputs in mmdet's form: a dictionary of tensors per image."""
    first, second = [0.0, 0, 9, 9], [40.0, 0, 49, 9]
    samples = [
        dict(  # a cat that is found, a difficult one that is found first, a dog that is missed
            img_id="a",
            gt_instances=_instances([first, second], [0, 1]),
            ignored_instances=_instances([second], [0]),
            pred_instances=_instances([second, first], [0, 0], scores=[0.9, 0.5]),
        ),
        dict(  # nothing there; a dog and, last of all, a cat are found
            img_id="b",
            gt_instances=_instances([], []),
            ignored_instances=_instances([], []),
            pred_instances=_instances([first, second], [1, 0], scores=[0.8, 0.3]),
        ),
        dict(  # a dog that is found
            img_id="c",
            gt_instances=_instances([first], [1]),
            ignored_instances=_instances([], []),
            pred_instances=_instances([first], [1], scores=[0.7]),
        ),
    ]
    metric = voc.VocMap(keep=str(tmp_path / "detections.npz"))
    metric.dataset_meta = dict(classes=CLASSES)
    for sample in samples:
        metric.process({}, [sample])
    measured = metric.evaluate(3)
    # cats: 1. Dogs: a wrong one, then one of two, so a precision of 1/2 up to a recall of 1/2.
    assert measured["map"] == pytest.approx(100 * (1 + 6 / 11 / 2) / 2)
    assert measured["map_all_point"] == pytest.approx(100 * (1 + 1 / 4) / 2)
    # COCO reads the curve at 101 recalls, 51 of them up to 1/2; boxes coincide at every IoU
    assert measured["ap_coco"] == pytest.approx(100 * (1 + 51 / 101 / 2) / 2)

    kept = detection.load(tmp_path / "detections.npz")
    assert kept.classes == CLASSES
    assert kept.images == ("a", "b", "c")
    assert values(kept) | {"ap_coco": detection.coco_average_precision(kept)} == measured
    for found, sample in zip(kept.detections, samples, strict=True):
        predicted = sample["pred_instances"]
        np.testing.assert_array_equal(found.boxes, predicted["bboxes"])
        np.testing.assert_array_equal(found.scores, predicted["scores"])
        np.testing.assert_array_equal(found.labels, predicted["labels"])
    truth = kept.ground_truth[0]
    assert truth.boxes.tolist() == [first, second, second]
    assert truth.labels.tolist() == [0, 1, 0]
    assert truth.difficult.tolist() == [False, False, True]
