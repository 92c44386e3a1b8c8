"""Readers of the sets with lists of their own, on tiny copies; few-shot parts of any set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from core import configs as core_configs
from core.errors import InputError
from pretrain.images import datasets, splits


def save_picture(path: Path, red: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 12), (red, 60, 90)).save(path)


def reds(images: datasets.ImageSet) -> list[int]:
    return [images.image(i).getpixel((8, 6))[0] for i in range(len(images))]


@pytest.fixture
def small(configs: Path) -> Callable[..., None]:
    """Has a set's config say how small the tiny copy is."""

    def make(name: str, **changes: object) -> None:
        lines = [f"{key} = {value!r}\n" for key, value in changes.items()]
        base = configs / "data" / f"{name}.py"
        base.write_text(base.read_text() + "".join(lines))

    return make


def refusal(name: str, root: Path, role: str = "train") -> str:
    with pytest.raises(InputError) as caught:
        datasets.load(name, root, role)
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert "To get it: " in message
    assert "\n" not in message
    return message


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


def test_the_rows_of_the_table_have_their_sets() -> None:
    mirrors = {core_configs.config(name).mirrors for name in core_configs.names("data")}
    assert {"inaturalist2019", "flowers102", "stanford-cars", "cifar100", "cifar10"} <= mirrors
    # of the same sum as the table's of the paper
    assert sum(core_configs.config("inaturalist2019").sizes.values()) == 265_240 + 3_003


# --- Flowers-102


@pytest.fixture
def flowers(small: Callable, tmp_path: Path) -> Path:
    small("flowers102", sizes=dict(train=4, test=3), classes=3, md5={})
    root = tmp_path / "flowers-102"
    for number in range(1, 8):
        save_picture(root / f"jpg/image_{number:05d}.jpg", 30 * number)
    savemat(root / "imagelabels.mat", {"labels": np.array([[1, 2, 3, 1, 2, 3, 1]], np.uint8)})
    parts = {"trnid": [[7, 2]], "valid": [[3, 5]], "tstid": [[6, 1, 4]]}
    savemat(root / "setid.mat", {k: np.array(v, np.uint16) for k, v in parts.items()})
    return tmp_path


def test_flowers(flowers: Path) -> None:
    train, test = (datasets.load("flowers102", flowers, role) for role in ("train", "test"))
    assert train.labels.tolist() == [0, 1, 2, 1]  # of the images 7, 2, 3, 5
    np.testing.assert_allclose(reds(train), [210, 60, 90, 150], atol=4)
    assert test.labels.tolist() == [2, 0, 0]
    np.testing.assert_allclose(reds(test), [180, 30, 120], atol=4)
    assert len(train.classes) == 3


def test_flowers_without_a_picture(flowers: Path) -> None:
    for number in (3, 5):
        (flowers / f"flowers-102/jpg/image_{number:05d}.jpg").unlink()
    message = refusal("flowers102", flowers)
    assert "image_00003.jpg: named in a list, but not there (and 1 more)" in message


def test_flowers_of_another_size(flowers: Path, small: Callable) -> None:
    small("flowers102", sizes=dict(train=5, test=3))
    assert "train has 4 samples of 3 classes, expected 5 of 3" in refusal("flowers102", flowers)


def test_flowers_with_other_labels_than_pinned(flowers: Path, small: Callable) -> None:
    small("flowers102", md5={"imagelabels.mat": "0" * 32})
    assert "imagelabels.mat: MD5 " in refusal("flowers102", flowers)


@pytest.mark.parametrize(
    "content", [b"", b"MATLAB 5.0 MAT-file but not really", "another's"], ids=str
)
def test_flowers_with_a_damaged_list(flowers: Path, content: bytes | str) -> None:
    path = flowers / "flowers-102/setid.mat"
    if isinstance(content, str):
        savemat(path, {"ids": [[1]]})
    else:
        path.write_bytes(content)
    refusal("flowers102", flowers)


def test_flowers_with_numbers_beyond_the_labels(flowers: Path) -> None:
    savemat(flowers / "flowers-102/imagelabels.mat", {"labels": np.array([[1, 2]], np.uint8)})
    assert "imagelabels.mat and setid.mat do not fit" in refusal("flowers102", flowers)


# --- Stanford Cars


def annotations(rows: list[tuple[str, int]]) -> dict[str, np.ndarray]:
    """As in the devkit: a struct array [1, N] with boxes, class (from 1) and file name."""
    kinds = [
        (key, object) for key in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
    ]
    found = np.empty((1, len(rows)), dtype=kinds)
    for i, (name, label) in enumerate(rows):
        found[0, i] = (1, 2, 10, 11, label, name)
    return {"annotations": found}


@pytest.fixture
def cars(small: Callable, tmp_path: Path) -> Path:
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
            save_picture(root / f"cars_{part}/{i:05d}.jpg", step * i)
    return tmp_path


def test_cars(cars: Path) -> None:
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


def test_cars_without_the_test_labels(cars: Path) -> None:
    root = cars / "stanford_cars"
    (root / "cars_test_annos_withlabels.mat").unlink()
    message = refusal("stanford-cars", cars, "test")
    assert "devkit/cars_test_annos_withlabels.mat: no such file" in message
    nameless = {"annotations": np.array([[("00001.jpg",)]], dtype=[("fname", object)])}
    savemat(root / "cars_test_annos_withlabels.mat", nameless)
    assert "not the annotations of test" in refusal("stanford-cars", cars, "test")


def test_cars_without_a_picture(cars: Path) -> None:
    (cars / "stanford_cars/cars_train/00002.jpg").unlink()
    assert "cars_train/00002.jpg: named in a list, but not there." in refusal("stanford-cars", cars)


# --- iNaturalist 2019


@pytest.fixture
def inaturalist(small: Callable, tmp_path: Path) -> Path:
    small("inaturalist2019", sizes=dict(train=3, val=1), classes=2)
    root = tmp_path / "inaturalist2019"
    root.mkdir()
    # neither categories nor images are in order, and their numbers do not start at 0
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
            save_picture(root / "train_val2019" / name, i)
    return tmp_path


def test_inaturalist(inaturalist: Path) -> None:
    train, val = (datasets.load("inaturalist2019", inaturalist, role) for role in ("train", "test"))
    assert train.classes == ("newt", "fern")
    assert train.labels.tolist() == [1, 0, 1]
    np.testing.assert_allclose(reds(train), [5, 12, 31], atol=4)
    assert (val.split, val.labels.tolist()) == ("val", [0])


@pytest.mark.parametrize("content", ["", "[]", '{"images": []}'])
def test_inaturalist_with_a_damaged_list(inaturalist: Path, content: str) -> None:
    (inaturalist / "inaturalist2019/train2019.json").write_text(content)
    assert "not the annotations of train" in refusal("inaturalist2019", inaturalist)


def test_a_missing_file_is_named_when_the_set_is_hashed(inaturalist: Path) -> None:
    (inaturalist / "inaturalist2019/train_val2019/Amphibians/4/a.jpg").unlink()
    found = datasets.load("inaturalist2019", inaturalist, "train")  # its first and last are there
    with pytest.raises(InputError, match=r"4/a\.jpg: No such file.*data check inaturalist2019"):
        datasets.fingerprint(found)


# --- Places365, large


def test_large_places(small: Callable, tmp_path: Path) -> None:
    small("places365-large", sizes=dict(train=2, val=1), classes=2, md5={"_delete_": True})
    root = tmp_path / "places365_large"
    save_picture(root / "data_large_standard/a/abbey/1.jpg", 40)
    save_picture(root / "data_large_standard/b/bar/indoor/1.jpg", 80)
    save_picture(root / "val_large/Places365_val_00000001.jpg", 120)
    (root / "categories_places365.txt").write_text("/a/abbey 0\n/b/bar/indoor 1\n")
    (root / "places365_train_standard.txt").write_text("/a/abbey/1.jpg 0\n/b/bar/indoor/1.jpg 1\n")
    (root / "places365_val.txt").write_text("Places365_val_00000001.jpg 1\n")
    train, val = (datasets.load("places365-large", tmp_path, role) for role in ("train", "test"))
    np.testing.assert_allclose(reds(train), [40, 80], atol=4)
    assert train.labels.tolist() == [0, 1]
    assert val.files == ("val_large/Places365_val_00000001.jpg",)
    assert val.labels.tolist() == [1]


# --- few-shot


def images_of(labels: np.ndarray) -> datasets.ImageSet:
    pixels = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    names = tuple(map(str, range(labels.max() + 1)))
    return datasets.ImageSet("s", "s", "train", names, labels, Path("."), pixels=pixels)


@pytest.mark.parametrize("size", [10, 23, 59])
def test_a_few_shot_part_has_as_many_of_each_class_as_can_be(size: int) -> None:
    labels = np.repeat(np.arange(5), [3, 7, 10, 20, 20])
    found = splits.part(images_of(labels), None, size, seed=1)
    counts = np.bincount(found.labels, minlength=5)
    assert len(found) == size == len(np.unique(found.pixels))
    np.testing.assert_array_equal(labels[found.pixels.ravel()], found.labels)
    most = counts.max()
    for count, there in zip(counts, (3, 7, 10, 20, 20), strict=True):
        assert count >= min(there, most - 1)


def test_a_few_shot_part_is_the_seeds() -> None:
    whole = images_of(np.arange(100) % 4)
    first, again, other = (splits.part(whole, None, 20, seed).pixels.ravel() for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)
    assert splits.part(whole, None, None, 0) is whole


@pytest.mark.parametrize("size", [0, 1, 101, "x"])
def test_a_few_shot_part_of_no_such_size(size: object) -> None:
    with pytest.raises(InputError, match="expected 2 to 100 samples"):
        splits.part(images_of(np.arange(100) % 4), None, size, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("classes", [10, 365, 1000])
def test_vtab_chooses_on_200_of_1000(classes: int) -> None:
    labels = np.arange(1000) % classes
    kept, held = splits.held_out(labels, 0.2, seed=0, few=True)
    assert (len(kept), len(held)) == (800, 200)
    assert sorted([*kept, *held]) == list(range(1000))
    counts = np.bincount(labels[held], minlength=classes)
    assert counts.max() - counts.min() <= 1


def test_a_whole_set_is_cut_class_by_class() -> None:
    labels = np.repeat(np.arange(3), [10, 20, 5])
    _, held = splits.held_out(labels, 0.2, seed=0)
    np.testing.assert_array_equal(np.bincount(labels[held]), [2, 4, 1])
