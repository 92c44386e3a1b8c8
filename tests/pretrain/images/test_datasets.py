"""The readers of classification sets, on small sets written on the spot; and what bad ones get."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core import configs as core_configs
from core.errors import InputError
from pretrain.images import datasets

ROOT = Path(__file__).resolve().parents[3]
GET_IT = "ask the librarian"


def declare(configs: Path, name: str, **settings: object) -> None:
    """Writes a file of configs/data."""
    settings = {"mirrors": "imagenet", "root": "set", "get_it": GET_IT, **settings}
    lines = [f"{key} = {value!r}\n" for key, value in settings.items()]
    (configs / "data" / f"{name}.py").write_text("".join(lines))


def save_picture(path: Path, red: int) -> None:
    """A 16 x 12 picture of one colour, by which it is known again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 12), (red, 60, 90)).save(path)


def reds(images: datasets.ImageSet) -> list[int]:
    return [images.image(i).getpixel((8, 6))[0] for i in range(len(images))]


def refusal(name: str, folder: Path, role: str = "train") -> str:
    with pytest.raises(InputError) as caught:
        datasets.load(name, folder, role)
    message = str(caught.value)
    assert "\n" not in message
    return message


def check_missing(message: str, path: Path, *words: str) -> None:
    """The message names the data set, the path, what is wrong, and where to get the data."""
    assert message.startswith("mine: ")
    assert f" {path}: " in message
    assert message.endswith(f"To get it: {GET_IT}")
    for word in words:
        assert word in message


# --- every config


@pytest.mark.parametrize("name", core_configs.names("data"))
def test_every_config_says_what_it_mirrors_how_large_it_is_and_where_to_get_it(name: str) -> None:
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


def test_an_unknown_set_offers_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown data set 'imagnet': did you mean imagenet"):
        datasets.load("imagnet", Path(), "train")


@pytest.mark.parametrize("name", ["voc", "ade20k"])
def test_a_set_of_boxes_or_masks_is_not_to_classify(name: str, tmp_path: Path) -> None:
    assert "not a set to classify" in refusal(name, tmp_path)


@pytest.mark.parametrize("name", ["imagenet", "cifar10", "places365", "tiny-imagenet-100"])
def test_absent_data_name_the_folder_and_where_to_get_them(name: str, tmp_path: Path) -> None:
    message = refusal(name, tmp_path)

    settings = core_configs.config(name)
    assert message == (
        f"{name}: {tmp_path / settings.root}: no such folder. To get it: {settings.get_it}"
    )


# --- ImageNet's layout


@pytest.fixture
def folder_set(configs: Path, tmp_path: Path) -> Path:
    declare(
        configs,
        "mine",
        layout="folder",
        splits={"train": "train", "test": "val"},
        sizes={"train": 5, "val": 2},
        classes=2,
    )
    root = tmp_path / "set"
    for i, file in enumerate(["b/2.JPEG", "b/1.jpg", "a/x.PNG", "a/10.jpeg", "a/9.jpeg"]):
        save_picture(root / "train" / file, 40 * i)
    save_picture(root / "val/a/1.png", 7)
    save_picture(root / "val/b/1.png", 9)
    (root / "train/a/readme.txt").write_text("no picture")
    (root / "train/listing.csv").write_text("no class")
    return tmp_path


def test_folder(folder_set: Path) -> None:
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


def test_folder_test_is_the_split_with_labels(folder_set: Path) -> None:
    found = datasets.load("mine", folder_set, "test")

    assert found.split == "val"
    assert reds(found) == [7, 9]


def test_folder_with_a_picture_too_few_or_too_many(folder_set: Path) -> None:
    root = folder_set / "set"
    save_picture(root / "train/b/3.jpg", 0)
    words = ("train has 6 samples of 2 classes", "expected 5 of 2")
    check_missing(refusal("mine", folder_set), root, *words)

    for name in ("1.jpg", "2.JPEG", "3.jpg"):
        (root / "train/b" / name).unlink()
    check_missing(refusal("mine", folder_set), root, "train has 3 samples of 2 classes")


def test_folder_with_another_number_of_classes(folder_set: Path) -> None:
    (folder_set / "set/train/c").mkdir()

    message = refusal("mine", folder_set)

    check_missing(message, folder_set / "set", "5 samples of 3 classes", "expected 5 of 2")


def test_folder_without_a_split(folder_set: Path) -> None:
    (folder_set / "set/val").rename(folder_set / "set/validation")

    check_missing(refusal("mine", folder_set, "test"), folder_set / "set/val", "no such folder")


# --- Places365's layout


@pytest.fixture
def places(configs: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Writes a set in Places365's layout, its lists with paths that start as wanted."""
    declare(
        configs,
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
            save_picture(root / "train" / file, 50 * i)
        save_picture(root / "val/val_2.jpg", 200)
        save_picture(root / "val/val_1.jpg", 100)
        return tmp_path

    return write


@pytest.mark.parametrize("start", ["", "/"])
def test_places365(places: Callable[[str], Path], start: str) -> None:
    folder = places(start)

    train, test = (datasets.load("mine", folder, role) for role in ("train", "test"))

    assert train.classes == test.classes == ("/a/abbey", "/b/bar/indoor", "/z/zoo")
    assert train.files == ("train/b/bar/indoor/1.jpg", "train/a/abbey/1.jpg", "train/z/zoo/1.jpg")
    assert train.labels.tolist() == [1, 0, 2]
    assert test.labels.tolist() == [2, 0]
    np.testing.assert_allclose(reds(train), [0, 50, 100], atol=3)
    np.testing.assert_allclose(reds(test), [200, 100], atol=3)


@pytest.mark.parametrize("name", ["categories_places365.txt", "train.txt"])
def test_places365_without_a_list(places: Callable[[str], Path], name: str) -> None:
    folder = places("/")
    (folder / "set" / name).unlink()

    check_missing(refusal("mine", folder), folder / "set" / name, "no such file")


@pytest.mark.parametrize("file", ["b/bar/indoor/1.jpg", "z/zoo/1.jpg"])
def test_places365_without_its_pictures(places: Callable[[str], Path], file: str) -> None:
    folder = places("/")
    (folder / "set/train" / file).unlink()

    check_missing(refusal("mine", folder), folder / "set/train" / file, "named in train.txt")


def test_places365_with_a_label_of_no_category(places: Callable[[str], Path]) -> None:
    folder = places("/")
    listing = folder / "set/train.txt"
    listing.write_text(listing.read_text().replace("1.jpg 2", "1.jpg 3"))

    check_missing(refusal("mine", folder), folder / "set", "labels 0 to 3, expected 0 to 2")


def test_places365_with_a_line_too_few(places: Callable[[str], Path]) -> None:
    folder = places("/")
    (folder / "set/train.txt").write_text("/a/abbey/1.jpg 0\n")

    check_missing(refusal("mine", folder), folder / "set", "1 samples of 3 classes, expected 3")


# --- Tiny-ImageNet's layout


@pytest.fixture
def tiny_imagenet(configs: Path, tmp_path: Path) -> Path:
    declare(
        configs,
        "mine",
        layout="tiny-imagenet",
        wnids=(0, 2),
        splits={"train": "train", "test": "val"},
        sizes={"train": 4, "val": 3},
        classes=2,
    )
    root = tmp_path / "set"
    wnids = ["n03", "n01", "n02"]  # the order of the file counts, not of the names
    for k, wnid in enumerate(wnids):
        for i in range(2):
            save_picture(root / "train" / wnid / "images" / f"{wnid}_{i}.png", 100 * k + i)
    (root / "wnids.txt").write_text("\n".join(wnids) + "\n")
    annotated = ["n01", "n02", "n03", "n01"]
    lines = [f"val_{i}.png\t{wnid}\t0\t0\t9\t9\n" for i, wnid in enumerate(annotated)]
    (root / "val").mkdir()
    (root / "val/val_annotations.txt").write_text("".join(lines))
    for i in range(4):
        save_picture(root / "val/images" / f"val_{i}.png", 10 * i)
    return tmp_path


def test_tiny_imagenet(tiny_imagenet: Path) -> None:
    train, test = (datasets.load("mine", tiny_imagenet, role) for role in ("train", "test"))

    assert train.classes == test.classes == ("n03", "n01")
    assert train.labels.tolist() == [0, 0, 1, 1]
    assert reds(train) == [0, 1, 100, 101]
    assert test.labels.tolist() == [1, 0, 1], "the picture of n02 is not of this part"
    assert reds(test) == [0, 20, 30]


@pytest.mark.parametrize(
    ("path", "role"),
    [("wnids.txt", "train"), ("train/n01/images", "train"), ("val/val_annotations.txt", "test")],
)
def test_tiny_imagenet_without_a_part(tiny_imagenet: Path, path: str, role: str) -> None:
    lost = tiny_imagenet / "set" / path
    lost.rename(tiny_imagenet / "elsewhere")

    check_missing(refusal("mine", tiny_imagenet, role), lost, "no such")


def test_tiny_imagenet_with_a_picture_too_few(tiny_imagenet: Path) -> None:
    (tiny_imagenet / "set/train/n01/images/n01_0.png").unlink()

    check_missing(refusal("mine", tiny_imagenet), tiny_imagenet / "set", "3 samples", "expected 4")
