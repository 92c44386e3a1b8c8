"""Data in COCO's layout: what is read, what is left out, what is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmdet.datasets.transforms import LoadAnnotations
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image
from pycocotools import mask as run_lengths

from core.errors import InputError
from downstream.detection import coco

HEIGHT, WIDTH = 10, 12
# Columns 2 to 7 of rows 3 to 5, in each of the three forms. Run lengths go down the columns.
RECTANGLE = np.zeros((HEIGHT, WIDTH), np.uint8)
RECTANGLE[3:6, 2:8] = 1
POLYGON = [[2, 3, 8, 3, 8, 6, 2, 6]]
RUNS = dict(
    size=[HEIGHT, WIDTH],
    counts=[2 * HEIGHT + 3, *(3, HEIGHT - 3) * 5, 3, HEIGHT - 6 + 4 * HEIGHT],
)
COMPRESSED = dict(
    size=[HEIGHT, WIDTH],
    counts=run_lengths.encode(np.asfortranarray(RECTANGLE))["counts"].decode(),
)


def _object(identity: int, image: int, category: int, **changes: Any) -> dict[str, Any]:
    own = dict(id=identity, image_id=image, category_id=category, iscrowd=0)
    return own | dict(bbox=[2, 3, 6, 3], segmentation=POLYGON, area=18) | changes


# Categories out of order, with gaps; the second image has no object.
FILE: dict[str, Any] = dict(
    info=dict(year=2026),
    categories=[dict(id=90, name="owl"), dict(id=3, name="cat"), dict(id=7, name="dog")],
    images=[
        dict(id=40, file_name="a.png", height=HEIGHT, width=WIDTH),
        dict(id=5, file_name="deep/b.png", height=HEIGHT, width=WIDTH),
    ],
    annotations=[
        _object(1, 40, 90),
        _object(2, 40, 3, segmentation=RUNS),
        _object(3, 40, 7, segmentation=COMPRESSED, iscrowd=1),
        _object(4, 40, 7, bbox=[2, 3, 6, 0.5]),
    ],
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Config]:
    """Writes a set of both splits; its config."""

    def make(train: Any = FILE, test: Any = FILE, **changes: Any) -> Config:
        root = tmp_path / "pets"
        for role, content in (("train", train), ("test", test)):
            (root / role / "deep").mkdir(parents=True, exist_ok=True)
            for name in ("a.png", "deep/b.png"):
                Image.new("RGB", (WIDTH, HEIGHT)).save(root / role / name)
            text = content if isinstance(content, str) else json.dumps(content)
            (root / f"{role}.json").write_text(text)
        values = dict(
            name="pets",
            root="pets",
            annotations=dict(train="train.json", test="test.json"),
            folders=dict(train="train", test="test"),
            splits=dict(train="train", test="val"),
            sizes=dict(train=2, val=2),
            classes=3,
            get_it="make pets",
        )
        return Config(values | changes)

    return make


def _load(found: Config, root: Path, role: str) -> list[dict]:
    (cfg,) = coco.dataset_configs(found, root, role, [])
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = DATASETS.build(cfg)
    assert dataset.metainfo["classes"] == ("cat", "dog", "owl"), "by ascending id"
    return [dataset.get_data_info(i) for i in range(len(dataset))]


# ---- what is read


@pytest.mark.parametrize("segmentation", [POLYGON, RUNS, COMPRESSED])
def test_every_form_of_a_mask_is_the_same_mask(segmentation: Any):
    counts = coco.compressed(segmentation, HEIGHT, WIDTH)
    assert counts == COMPRESSED["counts"].encode()
    decoded = run_lengths.decode(dict(size=[HEIGHT, WIDTH], counts=counts))
    np.testing.assert_array_equal(decoded, RECTANGLE)
    # and so it is for mmdet, which trains on it
    loaded = LoadAnnotations(with_mask=True)._poly2mask(segmentation, HEIGHT, WIDTH)
    np.testing.assert_array_equal(loaded, RECTANGLE)


def test_a_mask_of_several_polygons():
    parts = [[0, 0, 2, 0, 2, 2, 0, 2], [5, 5, 8, 5, 8, 9, 5, 9]]
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[0:2, 0:2] = expected[5:9, 5:8] = 1
    counts = coco.compressed(parts, HEIGHT, WIDTH)
    decoded = run_lengths.decode(dict(size=[HEIGHT, WIDTH], counts=counts))
    np.testing.assert_array_equal(decoded, expected)


def test_training_leaves_out_boxes_without_an_area(
    write: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lines: list[str] = []
    monkeypatch.setattr(coco, "print_log", lambda line, logger: lines.append(line))
    first, second = _load(write(), tmp_path, "train")
    assert [it["bbox"] for it in first["instances"]] == [[2, 3, 8, 6]] * 3
    assert [it["bbox_label"] for it in first["instances"]] == [2, 0, 1]
    assert [it["ignore_flag"] for it in first["instances"]] == [0, 0, 1]
    assert (first["img_id"], first["height"], first["width"]) == (40, HEIGHT, WIDTH)
    assert Path(first["img_path"]).samefile(tmp_path / "pets/train/a.png")
    assert Path(second["img_path"]).samefile(tmp_path / "pets/train/deep/b.png")
    assert second["instances"] == []
    assert "truth" not in first
    assert lines == [f"left out 1 boxes without an area in {tmp_path}/pets/train.json"]


def test_a_test_is_of_all_that_the_file_has(write: Callable, tmp_path: Path):
    first, second = (it["truth"] for it in _load(write(), tmp_path, "test"))
    assert first["boxes"].tolist() == [[2, 3, 8, 6]] * 3 + [[2, 3, 8, 3.5]]
    assert first["labels"].tolist() == [2, 0, 1, 1]
    assert first["crowds"].tolist() == [False, False, True, False]
    assert first["masks"] == [COMPRESSED["counts"].encode()] * 4
    assert second["boxes"].shape == (0, 4)
    assert second["masks"] == []


def test_polygons_of_two_points_are_left_out(write: Callable, tmp_path: Path):
    changed = copy.deepcopy(FILE)
    changed["annotations"][0]["segmentation"] = [[0, 0, 5, 5], *POLYGON]
    (first, _) = _load(write(changed), tmp_path, "train")
    assert first["instances"][0]["mask"] == POLYGON


def test_the_files_of_a_set(write: Callable, tmp_path: Path):
    names = [path.relative_to(tmp_path) for path in coco.fingerprint_parts(write(), tmp_path)]
    expected = [f"pets/{role}{it}" for role in ("train", "test") for it in (".json", "/a.png")]
    assert [str(name) for name in names if "deep" not in name.parts] == expected
    assert len(names) == 6


# ---- what is refused


def _changed(part: str, index: int, **changes: Any) -> dict[str, Any]:
    found = copy.deepcopy(FILE)
    found[part][index] |= changes
    return found


def _without(part: str, index: int, key: str) -> dict[str, Any]:
    found = copy.deepcopy(FILE)
    del found[part][index][key]
    return found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", r"Invalid JSON: EOF while parsing an object at line 1 column 1"),
        ("[]", "Input should be an object"),
        ({"images": [], "annotations": []}, "categories: Field required"),
        (_changed("annotations", 1, category_id=4), "annotation 2: no category has the id 4"),
        (_changed("annotations", 2, image_id=41), "annotation 3: no image has the id 41"),
        (_without("annotations", 1, "segmentation"), r"annotations\.1\.segmentation: Field req"),
        (_changed("annotations", 0, segmentation=[]), r"annotations\.0\.segmentation: .* polygons"),
        (_changed("annotations", 0, segmentation=[[1, 2, 3, 4]]), "of three points or more"),
        (_changed("annotations", 0, segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "of three points or mo"),
        (_changed("annotations", 1, segmentation={"size": [10, 12]}), "without counts or size"),
        (
            _changed("annotations", 1, segmentation=RUNS | {"size": [WIDTH, HEIGHT]}),
            r"annotation 2: its mask is of size \[12, 10\], its image \[10, 12\]",
        ),
        (
            _changed("annotations", 1, segmentation=RUNS | {"counts": [20, 3]}),
            "annotation 2: its run lengths add up to 23, not 120",
        ),
        (_changed("annotations", 3, bbox=[1, 2, 3]), r"annotations\.3\.bbox\.3: Field required"),
        (_changed("annotations", 3, iscrowd=2), r"annotations\.3\.iscrowd: Input should be 0 or 1"),
        (_changed("images", 1, width=0), r"images\.1\.width: Input should be greater than 0"),
        (_without("images", 1, "file_name"), r"images\.1\.file_name: Field required"),
        (
            _changed("images", 1, file_name="c.png"),
            r"c\.png: named in .*train\.json, but not there",
        ),
    ],
)
def test_a_file_that_is_none_is_one_line(content: Any, said: str, write: Callable, tmp_path: Path):
    with pytest.raises(InputError, match=said) as caught:
        coco.dataset_configs(write(content), tmp_path, "train", [])
    assert str(tmp_path / "pets") in str(caught.value)
    assert "train.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("gone", "said"), [("", "no such folder"), ("test.json", "test.json: no such file. To get it")]
)
def test_what_is_missing_is_named(gone: str, said: str, write: Callable, tmp_path: Path):
    found = write()
    (tmp_path / "pets" / gone).rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=said):
        coco.dataset_configs(found, tmp_path, "test", [])


def test_another_number_of_images_is_refused(write: Callable, tmp_path: Path):
    with pytest.raises(InputError, match="2 images, expected 3"):
        coco.dataset_configs(write(sizes=dict(train=3, val=2)), tmp_path, "train", [])


def test_other_classes_are_refused(write: Callable, tmp_path: Path):
    with pytest.raises(InputError, match="3 classes, expected 80"):
        coco.dataset_configs(write(classes=80), tmp_path, "train", [])
    renamed = _changed("categories", 0, name="emu")
    with pytest.raises(InputError, match="the same in all"):
        coco.dataset_configs(write(train=renamed), tmp_path, "train", [])
