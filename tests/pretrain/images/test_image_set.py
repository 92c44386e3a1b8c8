"""Image sets: RGB images, subsets, fingerprints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import InputError
from pretrain.images import datasets

FILES = ("train/a/10.jpeg", "train/a/9.jpeg", "train/a/x.PNG", "train/b/1.jpg", "train/b/2.JPEG")


@pytest.fixture
def sets(tmp_path: Path, save_image: Callable) -> tuple[datasets.ImageSet, datasets.ImageSet]:
    """Five training and two test images, each with its own red."""
    files = {"train": FILES, "val": ("val/a/1.png", "val/b/1.png")}
    labels = {"train": [0, 0, 0, 1, 1], "val": [0, 1]}
    for number, name in enumerate((*files["train"], *files["val"])):
        save_image(tmp_path / name, 30 * number)
    train, test = (
        datasets.ImageSet(
            "mine", "imagenet", k, ("a", "b"), np.array(labels[k]), tmp_path, files[k]
        )
        for k in files
    )
    return train, test


# --- images


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
def test_images_are_converted_to_rgb(
    tmp_path: Path, mode: str, colour: object, name: str, expected: tuple
) -> None:
    Image.new(mode, (16, 12), colour).save(tmp_path / name)
    images = datasets.ImageSet("x", "x", "x", ("a",), np.zeros(1, np.int64), tmp_path, (name,))

    found = images.image(0)

    assert found.mode == "RGB"
    assert found.size == (16, 12)
    np.testing.assert_allclose(np.asarray(found), np.broadcast_to(expected, (12, 16, 3)), atol=4)


def test_palette_images_are_converted_to_rgb(tmp_path: Path) -> None:
    image = Image.new("P", (16, 12), 1)
    image.putpalette([0, 0, 0, 200, 30, 60])
    image.save(tmp_path / "x.png")
    images = datasets.ImageSet("x", "x", "x", ("a",), np.zeros(1, np.int64), tmp_path, ("x.png",))

    assert images.image(0).getpixel((3, 3)) == (200, 30, 60)


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated"])
def test_an_unreadable_image_is_named(tmp_path: Path, damage: str) -> None:
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


# --- subsets, fingerprints


Sets = tuple[datasets.ImageSet, datasets.ImageSet]


def test_subset_of_files(sets: Sets, reds: Callable) -> None:
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


def test_fingerprint_depends_on_labels_names_sizes_and_order(sets: Sets) -> None:
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

    path = images.root / FILES[1]
    path.write_bytes(path.read_bytes() + b"\0")
    seen.add(datasets.fingerprint(images, test))
    path.rename(path.with_name("91.jpeg"))
    renamed = (FILES[0], "train/a/91.jpeg", *FILES[2:])
    seen.add(datasets.fingerprint(replace(images, files=renamed), test))
    assert len(seen) == 9


def test_fingerprint_depends_on_pixels(make_images: Callable[..., datasets.ImageSet]) -> None:
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
