"""VOC: boxes against masks, annotations in the devkit's format, lists of images."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from demo.seeding import generator
from demo.taxonomy import VOC
from demo.voc import Instance, annotation, object_scene, run_lengths, visible_masks

COUNTS = {
    ("VOC2007", "train"): 12,
    ("VOC2007", "val"): 12,
    ("VOC2007", "trainval"): 24,
    ("VOC2007", "test"): 12,
    ("VOC2012", "train"): 3,
    ("VOC2012", "val"): 3,
    ("VOC2012", "trainval"): 6,
}


def _scenes(count: int) -> list[tuple[np.ndarray, list[Instance]]]:
    return [object_scene(generator(7, index), 120, 160) for index in range(count)]


def test_boxes_are_tight_about_the_masks():
    for image, instances in _scenes(30):
        assert 1 <= len(instances) <= 4
        for instance in instances:
            assert instance.mask.shape == image.shape[:2]
            xmin, ymin, xmax, ymax = instance.box
            assert xmin >= 1
            assert ymin >= 1
            window = np.zeros_like(instance.mask)
            window[ymin - 1 : ymax, xmin - 1 : xmax] = True
            assert not (instance.mask & ~window).any(), "no visible pixel is outside"
            assert instance.mask[ymin - 1].any()
            assert instance.mask[ymax - 1].any()
            assert instance.mask[:, xmin - 1].any()
            assert instance.mask[:, xmax - 1].any()


def test_masks_of_a_scene_do_not_overlap():
    for _, instances in _scenes(30):
        assert sum(instance.mask.astype(int) for instance in instances).max() == 1


def test_later_objects_hide_earlier_ones():
    back, front = np.zeros((2, 4, 4), bool)
    back[:, :3] = True
    front[:, 2:] = True
    seen = visible_masks([back, front])
    np.testing.assert_array_equal(seen[0].any(axis=0), [True, True, False, False])
    np.testing.assert_array_equal(seen[1], front)


def test_pixels_of_a_mask_belong_to_its_object():
    # objects contrast with their background, so that luma varies more inside the masks
    inside, outside = [], []
    for image, instances in _scenes(30):
        luma = image @ np.array([0.299, 0.587, 0.114])
        covered = np.any([instance.mask for instance in instances], axis=0)
        inside.append(luma[covered].std())
        outside.append(luma[~covered].std())
    assert np.mean(inside) > 1.3 * np.mean(outside)


def test_truncated_objects_touch_the_border():
    scenes = _scenes(60)
    truncated = [
        (instance.box, image.shape)
        for image, instances in scenes
        for instance in instances
        if instance.truncated and not instance.difficult
    ]
    total = sum(len(instances) for _, instances in scenes)
    assert 0.15 * total < len(truncated) < 0.6 * total
    touching = [
        xmin == 1 or ymin == 1 or xmax == shape[1] or ymax == shape[0]
        for (xmin, ymin, xmax, ymax), shape in truncated
    ]
    # another object can hide the part at the border
    assert np.mean(touching) > 0.9


def test_a_few_objects_are_difficult():
    difficult = [instance.difficult for _, members in _scenes(150) for instance in members]
    assert 0.03 < np.mean(difficult) < 0.1


def test_box_coordinates_are_one_based_and_inclusive():
    mask = np.zeros((10, 20), bool)
    mask[2:5, 7:9] = True
    instance = Instance("cat", mask, truncated=False, difficult=True)
    assert instance.box == (8, 3, 9, 5)
    xml = ElementTree.fromstring(annotation("VOC2007", "000001", (10, 20, 3), [instance]))
    assert [child.tag for child in xml] == [
        "folder",
        "filename",
        "source",
        "size",
        "segmented",
        "object",
    ]
    assert xml.findtext("size/width") == "20"
    assert xml.findtext("size/height") == "10"
    item = xml.find("object")
    assert item is not None
    assert [child.tag for child in item] == ["name", "pose", "truncated", "difficult", "bndbox"]
    assert [child.text for child in item[-1]] == ["8", "3", "9", "5"]
    assert item.findtext("difficult") == "1"


# ---- the same objects in COCO's layout


@pytest.mark.parametrize("first", [False, True])
def test_run_lengths_go_down_the_columns(first: bool):
    mask = np.zeros((3, 4), bool)
    mask[1:, 1] = mask[:, 2] = True  # five pixels in a row, from column to column
    mask[0, 0] = first
    assert run_lengths(mask) == ([0, 1, 3, 5, 3] if first else [4, 5, 3])
    assert run_lengths(np.zeros((3, 4), bool)) == [12]
    assert run_lengths(np.ones((3, 4), bool)) == [0, 12]


@pytest.mark.parametrize(
    ("split", "parts"),
    [
        ("trainval", [("VOC2007", "trainval"), ("VOC2012", "trainval")]),
        ("test", [("VOC2007", "test")]),
    ],
)
def test_masks_are_of_the_annotated_objects(rendering, split: str, parts: list):
    root = rendering.root / "VOCdevkit"
    found = json.loads((root / "annotations" / f"instances_{split}.json").read_text())
    names = {category["id"]: category["name"] for category in found["categories"]}
    assert list(names.values()) == list(VOC)
    listed = [(year, stem) for year, part in parts for stem in _stems(root / year, part)]
    assert [image["file_name"] for image in found["images"]] == [
        f"{year}/JPEGImages/{stem}.jpg" for year, stem in listed
    ]
    assert len({it["id"] for it in found["annotations"]}) == len(found["annotations"])
    for image, (year, stem) in zip(found["images"], listed, strict=True):
        xml = ElementTree.parse(root / year / "Annotations" / f"{stem}.xml")
        size = [int(xml.findtext(f"size/{side}")) for side in ("height", "width")]
        assert [image["height"], image["width"]] == size
        mine = [it for it in found["annotations"] if it["image_id"] == image["id"]]
        for item, it in zip(xml.iterfind("object"), mine, strict=True):
            assert names[it["category_id"]] == item.findtext("name")
            assert it["iscrowd"] == int(item.findtext("difficult"))
            xmin, ymin, xmax, ymax = (
                int(item.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")
            )
            assert it["bbox"] == [xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1]
            counts = it["segmentation"]["counts"]
            assert it["segmentation"]["size"] == size
            values = np.arange(len(counts)) % 2 == 1
            mask = np.repeat(values, counts).reshape(size, order="F")
            assert it["area"] == mask.sum()
            rows, columns = np.nonzero(mask)
            assert [columns.min() + 1, rows.min() + 1] == [xmin, ymin]
            assert [columns.max() + 1, rows.max() + 1] == [xmax, ymax]


def _stems(folder: Path, name: str) -> list[str]:
    return (folder / "ImageSets" / "Main" / f"{name}.txt").read_text().split()


@pytest.mark.parametrize(("year", "split"), COUNTS)
def test_lists_name_annotated_images(rendering, year: str, split: str):
    folder = rendering.root / "VOCdevkit" / year
    stems = _stems(folder, split)
    assert len(set(stems)) == len(stems) == COUNTS[year, split]
    for stem in stems:
        xml = ElementTree.parse(folder / "Annotations" / f"{stem}.xml")
        assert xml.findtext("folder") == year
        assert xml.findtext("filename") == f"{stem}.jpg"
        with Image.open(folder / "JPEGImages" / f"{stem}.jpg") as image:
            size = [int(xml.findtext(f"size/{side}")) for side in ("width", "height")]
            assert list(image.size) == size
        for item in xml.iterfind("object"):
            assert item.findtext("name") in VOC
            box = item.find("bndbox")
            xmin, ymin, xmax, ymax = (
                int(box.findtext(key)) for key in ("xmin", "ymin", "xmax", "ymax")
            )
            assert 1 <= xmin <= xmax <= size[0]
            assert 1 <= ymin <= ymax <= size[1]


@pytest.mark.parametrize(("year", "split"), COUNTS)
def test_class_lists_say_which_images_have_the_class(rendering, year: str, split: str):
    folder = rendering.root / "VOCdevkit" / year
    stems = _stems(folder, split)
    present = {}
    for stem in stems:
        for item in ElementTree.parse(folder / "Annotations" / f"{stem}.xml").iterfind("object"):
            key = (stem, item.findtext("name"))
            easy = 1 - int(item.findtext("difficult"))
            present[key] = max(present.get(key, 0), easy)
    for name in VOC:
        lines = (folder / "ImageSets" / "Main" / f"{name}_{split}.txt").read_text().splitlines()
        assert lines == [f"{stem} {present.get((stem, name), -1):2d}" for stem in stems]


def test_splits_partition_the_images(rendering):
    for year in ("VOC2007", "VOC2012"):
        folder = rendering.root / "VOCdevkit" / year
        train, val, trainval = (
            set(_stems(folder, split)) for split in ("train", "val", "trainval")
        )
        assert train.isdisjoint(val)
        assert train | val == trainval
        test = set(_stems(folder, "test")) if year == "VOC2007" else set()
        assert test.isdisjoint(trainval)
        images = {path.stem for path in (folder / "JPEGImages").iterdir()}
        assert images == {path.stem for path in (folder / "Annotations").iterdir()}
        assert images == test | trainval
    assert not (
        rendering.root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main" / "test.txt"
    ).exists()
