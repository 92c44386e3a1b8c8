"""The readers of classification datasets, on small datasets made here; errors for bad ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core import configs as core_configs
from core.errors import InputError
from pretrain.images import datasets

Refusal = Callable[..., str]
Reds = Callable[[datasets.ImageSet], list[int]]


# --- every config


@pytest.mark.parametrize("name", core_configs.names("data"))
def test_every_config_has_its_size_what_it_mirrors_and_where_to_get_it(name: str) -> None:
    found = core_configs.config(name)

    assert found.name == name
    assert found.get_it
    assert found.mirrors
    assert all(size > 0 for size in found.sizes.values())
    assert set(found.get("splits", {"train": 0, "test": 0})) == {"train", "test"}


@pytest.mark.parametrize(
    ("name", "sizes", "classes"),
    [
        ("imagenet", {"train": 1_281_167, "val": 50_000}, 1000),
        ("places365", {"train": 1_803_460, "val": 36_500}, 365),
        ("cifar10", {"train": 50_000, "test": 10_000}, 10),
        ("cifar100", {"train": 50_000, "test": 10_000}, 100),
    ],
)
def test_sizes_are_the_published_ones(name: str, sizes: dict, classes: int) -> None:
    found = core_configs.config(name)

    assert dict(found.sizes) == sizes
    assert found.classes == classes


def test_an_unknown_dataset_is_refused_with_the_closest_name() -> None:
    with pytest.raises(InputError, match="unknown dataset 'imagnet': did you mean imagenet"):
        datasets.load("imagnet", Path(), "train")


@pytest.mark.parametrize("name", ["voc", "ade20k"])
def test_a_dataset_of_boxes_or_masks_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a classification dataset"):
        datasets.load(name, tmp_path, "train")


@pytest.mark.parametrize("name", ["imagenet", "cifar10", "places365", "tiny-imagenet-100"])
def test_missing_data_are_refused_with_where_to_get_them(
    name: str, tmp_path: Path, refusal: Refusal
) -> None:
    settings = core_configs.config(name)
    assert refusal(name, tmp_path) == (
        f"{name}: {tmp_path / settings.root}: no such folder. To get it: {settings.get_it}"
    )


# --- ImageNet's layout


@pytest.fixture
def folder_set(declare: Callable, save_image: Callable, tmp_path: Path) -> Path:
    declare(
        "mine",
        layout="folder",
        splits={"train": "train", "test": "val"},
        sizes={"train": 5, "val": 2},
        classes=2,
    )
    root = tmp_path / "set"
    for i, file in enumerate(["b/2.JPEG", "b/1.jpg", "a/x.PNG", "a/10.jpeg", "a/9.jpeg"]):
        save_image(root / "train" / file, 40 * i)
    save_image(root / "val/a/1.png", 7)
    save_image(root / "val/b/1.png", 9)
    (root / "train/a/readme.txt").write_text("not an image")
    (root / "train/listing.csv").write_text("not a class")
    return tmp_path


def test_folder(folder_set: Path, reds: Reds) -> None:
    found = datasets.load("mine", folder_set, "train")

    assert (found.name, found.mirrors, found.split) == ("mine", "imagenet", "train")
    assert found.classes == ("a", "b")
    assert found.files == tuple(
        f"train/{file}" for file in ("a/10.jpeg", "a/9.jpeg", "a/x.PNG", "b/1.jpg", "b/2.JPEG")
    )
    assert found.labels.tolist() == [0, 0, 0, 1, 1]
    assert found.labels.dtype == np.int64
    assert len(found) == 5
    np.testing.assert_allclose(reds(found), [120, 160, 80, 40, 0], atol=3)


def test_folder_test_is_the_split_with_labels(folder_set: Path, reds: Reds) -> None:
    found = datasets.load("mine", folder_set, "test")

    assert found.split == "val"
    assert reds(found) == [7, 9]


def test_folder_with_too_few_or_too_many_images(
    folder_set: Path, save_image: Callable, refusal: Refusal
) -> None:
    root = folder_set / "set"
    save_image(root / "train/b/3.jpg", 0)
    words = ("train has 6 samples of 2 classes", "expected 5 of 2")
    refusal("mine", folder_set, f" {root}: ", *words)

    for name in ("1.jpg", "2.JPEG", "3.jpg"):
        (root / "train/b" / name).unlink()
    refusal("mine", folder_set, f" {root}: ", "train has 3 samples of 2 classes")


def test_folder_with_another_number_of_classes(folder_set: Path, refusal: Refusal) -> None:
    (folder_set / "set/train/c").mkdir()

    words = ("5 samples of 3 classes", "expected 5 of 2")
    refusal("mine", folder_set, f" {folder_set / 'set'}: ", *words)


def test_folder_without_a_split(folder_set: Path, refusal: Refusal) -> None:
    (folder_set / "set/val").rename(folder_set / "set/validation")

    refusal("mine", folder_set, f" {folder_set / 'set/val'}: no such folder", role="test")


# --- Places365's layout


@pytest.fixture
def places(declare: Callable, save_image: Callable, tmp_path: Path) -> Callable[[str], Path]:
    """Writes a dataset in Places365's layout; the paths in its lists begin with `start`."""
    declare(
        "mine",
        mirrors="places365",
        layout="places365",
        splits={"train": "train", "test": "val"},
        sizes={"train": 3, "val": 2},
        classes=3,
    )

    def write(start: str) -> Path:
        root = tmp_path / "set"
        root.mkdir()
        (root / "categories_places365.txt").write_text("/z/zoo 2\n/a/abbey 0\n/b/bar/indoor 1\n")
        listing = [("b/bar/indoor/1.jpg", 1), ("a/abbey/1.jpg", 0), ("z/zoo/1.jpg", 2)]
        (root / "train.txt").write_text("".join(f"{start}{f} {k}\n" for f, k in listing))
        (root / "val.txt").write_text(f"{start}val_2.jpg 2\n{start}val_1.jpg 0\n\n")
        for i, (file, _) in enumerate(listing):
            save_image(root / "train" / file, 50 * i)
        save_image(root / "val/val_2.jpg", 200)
        save_image(root / "val/val_1.jpg", 100)
        return tmp_path

    return write


@pytest.mark.parametrize("start", ["", "/"])
def test_places365(places: Callable[[str], Path], start: str, reds: Reds) -> None:
    folder = places(start)

    train, test = (datasets.load("mine", folder, role) for role in ("train", "test"))

    assert train.classes == test.classes == ("/a/abbey", "/b/bar/indoor", "/z/zoo")
    assert train.files == ("train/b/bar/indoor/1.jpg", "train/a/abbey/1.jpg", "train/z/zoo/1.jpg")
    assert train.labels.tolist() == [1, 0, 2]
    assert test.labels.tolist() == [2, 0]
    np.testing.assert_allclose(reds(train), [0, 50, 100], atol=3)
    np.testing.assert_allclose(reds(test), [200, 100], atol=3)


@pytest.mark.parametrize("name", ["categories_places365.txt", "train.txt"])
def test_places365_without_a_list(
    places: Callable[[str], Path], name: str, refusal: Refusal
) -> None:
    folder = places("/")
    (folder / "set" / name).unlink()

    refusal("mine", folder, f" {folder / 'set' / name}: no such file")


@pytest.mark.parametrize("file", ["b/bar/indoor/1.jpg", "z/zoo/1.jpg"])
def test_places365_without_its_images(
    places: Callable[[str], Path], file: str, refusal: Refusal
) -> None:
    folder = places("/")
    (folder / "set/train" / file).unlink()

    refusal("mine", folder, f" {folder / 'set/train' / file}: listed in train.txt")


def test_places365_with_a_label_without_a_category(
    places: Callable[[str], Path], refusal: Refusal
) -> None:
    folder = places("/")
    listing = folder / "set/train.txt"
    listing.write_text(listing.read_text().replace("1.jpg 2", "1.jpg 3"))

    refusal("mine", folder, f" {folder / 'set'}: ", "labels 0 to 3, expected 0 to 2")


def test_places365_with_a_line_missing(places: Callable[[str], Path], refusal: Refusal) -> None:
    folder = places("/")
    (folder / "set/train.txt").write_text("/a/abbey/1.jpg 0\n")

    refusal("mine", folder, f" {folder / 'set'}: ", "1 samples of 3 classes, expected 3")


# --- Tiny-ImageNet's layout


@pytest.fixture
def tiny_imagenet(declare: Callable, save_image: Callable, tmp_path: Path) -> Path:
    declare(
        "mine",
        layout="tiny-imagenet",
        wnids=(0, 2),
        splits={"train": "train", "test": "val"},
        sizes={"train": 4, "val": 3},
        classes=2,
    )
    root = tmp_path / "set"
    wnids = ["n03", "n01", "n02"]  # in the order of wnids.txt, not sorted
    for k, wnid in enumerate(wnids):
        for i in range(2):
            save_image(root / "train" / wnid / "images" / f"{wnid}_{i}.png", 100 * k + i)
    (root / "wnids.txt").write_text("\n".join(wnids) + "\n")
    annotated = ["n01", "n02", "n03", "n01"]
    lines = [f"val_{i}.png\t{wnid}\t0\t0\t9\t9\n" for i, wnid in enumerate(annotated)]
    (root / "val").mkdir()
    (root / "val/val_annotations.txt").write_text("".join(lines))
    for i in range(4):
        save_image(root / "val/images" / f"val_{i}.png", 10 * i)
    return tmp_path


def test_tiny_imagenet(tiny_imagenet: Path, reds: Reds) -> None:
    train, test = (datasets.load("mine", tiny_imagenet, role) for role in ("train", "test"))

    assert train.classes == test.classes == ("n03", "n01")
    assert train.labels.tolist() == [0, 0, 1, 1]
    assert reds(train) == [0, 1, 100, 101]
    assert test.labels.tolist() == [1, 0, 1], "n02 is outside the range of wnids"
    assert reds(test) == [0, 20, 30]


@pytest.mark.parametrize(
    ("path", "role"),
    [("wnids.txt", "train"), ("train/n01/images", "train"), ("val/val_annotations.txt", "test")],
)
def test_tiny_imagenet_without_a_part(
    tiny_imagenet: Path, path: str, role: str, refusal: Refusal
) -> None:
    lost = tiny_imagenet / "set" / path
    lost.rename(tiny_imagenet / "elsewhere")

    refusal("mine", tiny_imagenet, f" {lost}: no such", role=role)


def test_tiny_imagenet_with_an_image_missing(tiny_imagenet: Path, refusal: Refusal) -> None:
    (tiny_imagenet / "set/train/n01/images/n01_0.png").unlink()

    refusal("mine", tiny_imagenet, f" {tiny_imagenet / 'set'}: ", "3 samples", "expected 4")
