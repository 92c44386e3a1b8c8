"""Readers of datasets that come with lists, on tiny copies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from core import configs as core_configs
from core.errors import InputError
from pretrain.images import datasets

Refusal = Callable[..., str]
Reds = Callable[[datasets.ImageSet], list[int]]


@pytest.fixture
def small(configs: Path) -> Callable[..., None]:
    """Changes a dataset's config to the size of the tiny copy."""

    def make(name: str, **changes: object) -> None:
        lines = [f"{key} = {value!r}\n" for key, value in changes.items()]
        base = configs / "data" / f"{name}.py"
        base.write_text(base.read_text() + "".join(lines))

    return make


@pytest.mark.parametrize(
    ("name", "sizes", "classes"),
    [
        ("flowers102", {"train": 2_040, "test": 6_149}, 102),
        ("stanford-cars", {"train": 8_144, "test": 8_041}, 196),
        ("inaturalist2019", {"train": 265_213, "val": 3_030}, 1010),
        ("places365-large", {"train": 1_803_460, "val": 36_500}, 365),
    ],
)
def test_sizes_are_the_published_ones(name: str, sizes: dict, classes: int) -> None:
    found = core_configs.config(name)
    assert dict(found.sizes) == sizes
    assert found.classes == classes
    assert name in core_configs.read_protocol("paper").datasets.values()


def test_every_row_of_the_table_has_a_dataset() -> None:
    mirrors = {core_configs.config(name).mirrors for name in core_configs.names("data")}
    assert {"inaturalist2019", "flowers102", "stanford-cars", "cifar100", "cifar10"} <= mirrors
    # the paper's table has the same total
    assert sum(core_configs.config("inaturalist2019").sizes.values()) == 265_240 + 3_003


# --- Flowers-102


@pytest.fixture
def flowers(small: Callable, save_image: Callable, tmp_path: Path) -> Path:
    small("flowers102", sizes=dict(train=4, test=3), classes=3, md5={})
    root = tmp_path / "flowers-102"
    for number in range(1, 8):
        save_image(root / f"jpg/image_{number:05d}.jpg", 30 * number)
    savemat(root / "imagelabels.mat", {"labels": np.array([[1, 2, 3, 1, 2, 3, 1]], np.uint8)})
    parts = {"trnid": [[7, 2]], "valid": [[3, 5]], "tstid": [[6, 1, 4]]}
    savemat(root / "setid.mat", {k: np.array(v, np.uint16) for k, v in parts.items()})
    return tmp_path


def test_flowers(flowers: Path, reds: Reds) -> None:
    train, test = (datasets.load("flowers102", flowers, role) for role in ("train", "test"))
    assert train.labels.tolist() == [0, 1, 2, 1]  # of the images 7, 2, 3, 5
    np.testing.assert_allclose(reds(train), [210, 60, 90, 150], atol=4)
    assert test.labels.tolist() == [2, 0, 0]
    np.testing.assert_allclose(reds(test), [180, 30, 120], atol=4)
    assert len(train.classes) == 3


def test_flowers_without_an_image(flowers: Path, refusal: Refusal) -> None:
    for number in (3, 5):
        (flowers / f"flowers-102/jpg/image_{number:05d}.jpg").unlink()
    refusal("flowers102", flowers, "image_00003.jpg: listed, but missing (and 1 more)")


def test_flowers_of_another_size(flowers: Path, small: Callable, refusal: Refusal) -> None:
    small("flowers102", sizes=dict(train=5, test=3))
    refusal("flowers102", flowers, "train has 4 samples of 3 classes, expected 5 of 3")


def test_flowers_with_another_md5(flowers: Path, small: Callable, refusal: Refusal) -> None:
    small("flowers102", md5={"imagelabels.mat": "0" * 32})
    refusal("flowers102", flowers, "imagelabels.mat: MD5 ")


@pytest.mark.parametrize(
    "content", [b"", b"MATLAB 5.0 MAT-file but not really", "another's"], ids=str
)
def test_flowers_with_a_damaged_list(flowers: Path, content: bytes | str, refusal: Refusal) -> None:
    path = flowers / "flowers-102/setid.mat"
    if isinstance(content, str):
        savemat(path, {"ids": [[1]]})
    else:
        path.write_bytes(content)
    refusal("flowers102", flowers)


def test_flowers_with_numbers_beyond_the_labels(flowers: Path, refusal: Refusal) -> None:
    savemat(flowers / "flowers-102/imagelabels.mat", {"labels": np.array([[1, 2]], np.uint8)})
    refusal("flowers102", flowers, "imagelabels.mat and setid.mat do not match")


# --- Stanford Cars


def annotations(rows: list[tuple[str, int]]) -> dict[str, np.ndarray]:
    """The devkit's struct array [1, N] of boxes, class (from 1) and file name."""
    kinds = [
        (key, object) for key in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
    ]
    found = np.empty((1, len(rows)), dtype=kinds)
    for i, (name, label) in enumerate(rows):
        found[0, i] = (1, 2, 10, 11, label, name)
    return {"annotations": found}


@pytest.fixture
def cars(small: Callable, save_image: Callable, tmp_path: Path) -> Path:
    small("stanford-cars", sizes=dict(train=3, test=2), classes=2)
    root = tmp_path / "stanford_cars"
    (root / "devkit").mkdir(parents=True)
    names = np.array([["AM General Hummer SUV 2000", "Acura RL Sedan 2012"]], object)
    savemat(root / "devkit/cars_meta.mat", {"class_names": names})
    train = [("00001.jpg", 2), ("00002.jpg", 1), ("00003.jpg", 2)]
    savemat(root / "devkit/cars_train_annos.mat", annotations(train))
    test = [("00002.jpg", 1), ("00001.jpg", 2)]
    savemat(root / "cars_test_annos_withlabels.mat", annotations(test))
    for part, count, step in (("train", 3, 20), ("test", 2, 100)):
        for i in range(1, count + 1):
            save_image(root / f"cars_{part}/{i:05d}.jpg", step * i)
    return tmp_path


def test_cars(cars: Path, reds: Reds) -> None:
    train, test = (datasets.load("stanford-cars", cars, role) for role in ("train", "test"))
    assert train.classes == ("AM General Hummer SUV 2000", "Acura RL Sedan 2012")
    assert train.labels.tolist() == [1, 0, 1]
    np.testing.assert_allclose(reds(train), [20, 40, 60], atol=4)
    assert test.labels.tolist() == [0, 1]
    np.testing.assert_allclose(reds(test), [200, 100], atol=4)


def test_cars_with_the_test_list_in_the_devkit(cars: Path) -> None:
    root = cars / "stanford_cars"
    (root / "cars_test_annos_withlabels.mat").rename(root / "devkit/cars_test_annos_withlabels.mat")
    assert len(datasets.load("stanford-cars", cars, "test")) == 2


def test_cars_without_the_test_labels(cars: Path, refusal: Refusal) -> None:
    root = cars / "stanford_cars"
    (root / "cars_test_annos_withlabels.mat").unlink()
    missing = "devkit/cars_test_annos_withlabels.mat: no such file"
    refusal("stanford-cars", cars, missing, role="test")
    nameless = {"annotations": np.array([[("00001.jpg",)]], dtype=[("fname", object)])}
    savemat(root / "cars_test_annos_withlabels.mat", nameless)
    refusal("stanford-cars", cars, "not the annotations of test", role="test")


def test_cars_without_an_image(cars: Path, refusal: Refusal) -> None:
    (cars / "stanford_cars/cars_train/00002.jpg").unlink()
    refusal("stanford-cars", cars, "cars_train/00002.jpg: listed, but missing.")


# --- iNaturalist 2019


@pytest.fixture
def inaturalist(small: Callable, save_image: Callable, tmp_path: Path) -> Path:
    small("inaturalist2019", sizes=dict(train=3, val=1), classes=2)
    root = tmp_path / "inaturalist2019"
    root.mkdir()
    # categories and images are not sorted, and their ids do not start at 0
    categories = [{"id": 7, "name": "fern"}, {"id": 4, "name": "newt"}]
    for part, rows in (
        (
            "train",
            [(31, "Plants/7/b.jpg", 7), (12, "Amphibians/4/a.jpg", 4), (5, "Plants/7/c.jpg", 7)],
        ),
        ("val", [(77, "Amphibians/4/v.jpg", 4)]),
    ):
        images = [{"id": i, "file_name": f"train_val2019/{name}"} for i, name, _ in rows]
        labels = [{"id": i, "image_id": i, "category_id": label} for i, _, label in reversed(rows)]
        found = {"categories": categories, "images": images, "annotations": labels}
        (root / f"{part}2019.json").write_text(json.dumps(found))
        for i, name, _ in rows:
            save_image(root / "train_val2019" / name, i)
    return tmp_path


def test_inaturalist(inaturalist: Path, reds: Reds) -> None:
    train, val = (datasets.load("inaturalist2019", inaturalist, role) for role in ("train", "test"))
    assert train.classes == ("newt", "fern")
    assert train.labels.tolist() == [1, 0, 1]
    np.testing.assert_allclose(reds(train), [5, 12, 31], atol=4)
    assert (val.split, val.labels.tolist()) == ("val", [0])


@pytest.mark.parametrize("content", ["", "[]", '{"images": []}'])
def test_inaturalist_with_a_damaged_list(inaturalist: Path, content: str, refusal: Refusal) -> None:
    (inaturalist / "inaturalist2019/train2019.json").write_text(content)
    refusal("inaturalist2019", inaturalist, "not the annotations of train")


def test_a_missing_file_is_named_when_the_set_is_hashed(inaturalist: Path) -> None:
    (inaturalist / "inaturalist2019/train_val2019/Amphibians/4/a.jpg").unlink()
    found = datasets.load("inaturalist2019", inaturalist, "train")  # checks the first and the last
    with pytest.raises(InputError, match=r"4/a\.jpg: No such file.*data check inaturalist2019"):
        datasets.fingerprint(found)


# --- Places365, large


def test_large_places(small: Callable, save_image: Callable, reds: Reds, tmp_path: Path) -> None:
    small("places365-large", sizes=dict(train=2, val=1), classes=2, md5={"_delete_": True})
    root = tmp_path / "places365_large"
    save_image(root / "data_large_standard/a/abbey/1.jpg", 40)
    save_image(root / "data_large_standard/b/bar/indoor/1.jpg", 80)
    save_image(root / "val_large/Places365_val_00000001.jpg", 120)
    (root / "categories_places365.txt").write_text("/a/abbey 0\n/b/bar/indoor 1\n")
    (root / "places365_train_standard.txt").write_text("/a/abbey/1.jpg 0\n/b/bar/indoor/1.jpg 1\n")
    (root / "places365_val.txt").write_text("Places365_val_00000001.jpg 1\n")
    train, val = (datasets.load("places365-large", tmp_path, role) for role in ("train", "test"))
    np.testing.assert_allclose(reds(train), [40, 80], atol=4)
    assert train.labels.tolist() == [0, 1]
    assert val.files == ("val_large/Places365_val_00000001.jpg",)
    assert val.labels.tolist() == [1]
