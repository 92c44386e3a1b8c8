"""Image sets: their pictures in RGB, subsets, fingerprints, splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import InputError
from pretrain.images import datasets, splits


def save_picture(path: Path, red: int) -> None:
    """A 16 x 12 picture of one colour, by which it is known again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 12), (red, 60, 90)).save(path)


def reds(images: datasets.ImageSet) -> list[int]:
    return [images.image(i).getpixel((8, 6))[0] for i in range(len(images))]


FILES = ("train/a/10.jpeg", "train/a/9.jpeg", "train/a/x.PNG", "train/b/1.jpg", "train/b/2.JPEG")


@pytest.fixture
def sets(tmp_path: Path) -> tuple[datasets.ImageSet, datasets.ImageSet]:
    """Five images to train on and two to test on, each of a red of its own."""
    files = {"train": FILES, "val": ("val/a/1.png", "val/b/1.png")}
    labels = {"train": [0, 0, 0, 1, 1], "val": [0, 1]}
    for number, name in enumerate((*files["train"], *files["val"])):
        save_picture(tmp_path / name, 30 * number)
    train, test = (
        datasets.ImageSet(
            "mine", "imagenet", k, ("a", "b"), np.array(labels[k]), tmp_path, files[k]
        )
        for k in files
    )
    return train, test


# --- pictures


@pytest.mark.parametrize(
    ("mode", "colour", "name", "expected"),
    [
        ("RGB", (200, 30, 60), "x.png", (200, 30, 60)),
        ("L", 120, "x.png", (120, 120, 120)),
        ("L", 120, "x.jpg", (120, 120, 120)),
        ("RGBA", (200, 30, 60, 128), "x.png", (200, 30, 60)),
        ("LA", (120, 128), "x.png", (120, 120, 120)),
        ("CMYK", (0, 255, 255, 0), "x.jpg", (255, 0, 0)),
        ("1", 1, "x.png", (255, 255, 255)),
    ],
)
def test_a_picture_comes_out_in_rgb(
    tmp_path: Path, mode: str, colour: object, name: str, expected: tuple
) -> None:
    Image.new(mode, (16, 12), colour).save(tmp_path / name)
    images = datasets.ImageSet("x", "x", "x", ("a",), np.zeros(1, np.int64), tmp_path, (name,))

    found = images.image(0)

    assert found.mode == "RGB"
    assert found.size == (16, 12)
    np.testing.assert_allclose(np.asarray(found), np.broadcast_to(expected, (12, 16, 3)), atol=4)


def test_a_palette_comes_out_in_its_colours(tmp_path: Path) -> None:
    image = Image.new("P", (16, 12), 1)
    image.putpalette([0, 0, 0, 200, 30, 60])
    image.save(tmp_path / "x.png")
    images = datasets.ImageSet("x", "x", "x", ("a",), np.zeros(1, np.int64), tmp_path, ("x.png",))

    assert images.image(0).getpixel((3, 3)) == (200, 30, 60)


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated"])
def test_an_unreadable_picture_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        damaged = {"empty": b"", "text": b"a page", "truncated": content[: len(content) // 2]}
        path.write_bytes(damaged[damage])
    images = datasets.ImageSet("x", "x", "x", ("a",), np.zeros(1, np.int64), tmp_path, ("x.jpg",))

    with pytest.raises(InputError) as caught:
        images.image(0)

    assert str(caught.value).startswith(f"{path}: not a readable image")


# --- subsets, fingerprints, splits


Sets = tuple[datasets.ImageSet, datasets.ImageSet]


def test_subset_of_files(sets: Sets) -> None:
    found = sets[0].subset(np.array([4, 0]))

    assert found.files == ("train/b/2.JPEG", "train/a/10.jpeg")
    assert found.labels.tolist() == [1, 0]
    assert found.classes == ("a", "b")
    np.testing.assert_allclose(reds(found), [120, 0], atol=3)


def test_subset_of_pixels(make_images: Callable[..., datasets.ImageSet]) -> None:
    images = make_images(12)

    found = images.subset(np.array([7, 2, 2]))

    assert found.labels.tolist() == [1, 2, 2]
    np.testing.assert_array_equal(found.pixels, images.pixels[[7, 2, 2]])


def test_limited_is_a_random_part_of_its_size(
    make_images: Callable[..., datasets.ImageSet],
) -> None:
    images = make_images(200)
    assert splits.limited(images, None, 0) is images

    one, two, other = (splits.limited(images, 30, seed) for seed in (0, 0, 1))

    places = {picture.tobytes(): i for i, picture in enumerate(images.pixels)}
    taken = [places[picture.tobytes()] for picture in one.pixels]
    assert len(set(taken)) == len(one) == 30
    assert one.labels.tolist() == [i % 3 for i in taken]
    assert one.classes == images.classes
    assert max(taken) > 100, "not only the first"
    np.testing.assert_array_equal(one.pixels, two.pixels)
    assert not np.array_equal(one.pixels, other.pixels)
    assert len(splits.limited(images, 999, 0)) == 200


@pytest.mark.parametrize("limit", [0, -5])
def test_a_limit_below_one_is_refused(
    make_images: Callable[..., datasets.ImageSet], limit: int
) -> None:
    with pytest.raises(InputError, match=f"a limit of {limit} samples: expected 1 or more"):
        splits.limited(make_images(12), limit, 0)


def test_fingerprint_sees_labels_names_sizes_and_order(sets: Sets) -> None:
    images, test = sets
    before = datasets.fingerprint(images, test)
    assert before == datasets.fingerprint(images, test)
    elsewhere = images.root / ".." / images.root.name
    assert before == datasets.fingerprint(replace(images, root=elsewhere), test)

    labels = images.labels.copy()
    labels[0] = 1
    seen = {before}
    for changed in (
        (replace(images, labels=labels), test),
        (replace(images, classes=("a", "c")), test),
        (replace(images, split="val"), test),
        (images.subset(np.arange(4)), test),
        (test, images),
        (images,),
    ):
        seen.add(datasets.fingerprint(*changed))
    assert len(seen) == 7

    picture = images.root / FILES[1]
    picture.write_bytes(picture.read_bytes() + b"\0")
    seen.add(datasets.fingerprint(images, test))
    picture.rename(picture.with_name("91.jpeg"))
    renamed = (FILES[0], "train/a/91.jpeg", *FILES[2:])
    seen.add(datasets.fingerprint(replace(images, files=renamed), test))
    assert len(seen) == 9


def test_fingerprint_sees_pixels(make_images: Callable[..., datasets.ImageSet]) -> None:
    images = make_images(6)
    pixels = images.pixels.copy()
    pixels[3, 5, 5, 1] ^= 1

    assert datasets.fingerprint(images) != datasets.fingerprint(replace(images, pixels=pixels))


def test_described(sets: Sets) -> None:
    found = datasets.described("0" * 64, *sets)

    assert found.model_dump() == {
        "name": "mine",
        "mirrors": "imagenet",
        "fingerprint": "0" * 64,
        "sizes": {"train": 5, "val": 2},
        "classes": 2,
    }


@pytest.mark.parametrize("part", [0.1, 0.2, 0.5])
def test_per_class_split_is_disjoint_whole_and_in_proportion(part: float) -> None:
    counts = {0: 100, 1: 50, 2: 7, 3: 2, 4: 1}
    labels = np.random.default_rng(0).permutation(np.repeat(list(counts), list(counts.values())))

    kept, held = splits.per_class_split(labels, part, seed=0)

    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert np.all(np.diff(kept) > 0)
    assert np.all(np.diff(held) > 0)
    for label, count in counts.items():
        wanted = 0 if count == 1 else max(1, round(part * count))
        assert np.sum(labels[held] == label) == wanted


def test_per_class_split_follows_its_seed() -> None:
    labels = np.arange(200) % 4
    one, two, other = (splits.per_class_split(labels, 0.2, seed)[1].tolist() for seed in (0, 0, 1))

    assert one == two
    assert one != other
