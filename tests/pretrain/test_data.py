"""The readers of classification sets, on small sets written on the spot; and what bad ones get."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pretrain import data, recipe
from pretrain.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
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


def reds(images: data.ImageSet) -> list[int]:
    return [images.image(i).getpixel((8, 6))[0] for i in range(len(images))]


def refusal(name: str, folder: Path, role: str = "train") -> str:
    with pytest.raises(InputError) as caught:
        data.load(name, folder, role)
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


@pytest.mark.parametrize("name", recipe.names("data"))
def test_every_config_says_what_it_mirrors_how_large_it_is_and_where_to_get_it(name: str) -> None:
    found = data.config(name)

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
    found = data.config(name)

    assert dict(found.sizes) == sizes
    assert found.classes == classes


def test_an_unknown_set_offers_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown data set 'imagnet': did you mean imagenet"):
        data.load("imagnet", Path(), "train")


@pytest.mark.parametrize("name", ["voc", "ade20k"])
def test_a_set_of_boxes_or_masks_is_not_to_classify(name: str, tmp_path: Path) -> None:
    assert "not a set to classify" in refusal(name, tmp_path)


@pytest.mark.parametrize("name", ["imagenet", "cifar10", "places365", "tiny-imagenet-100"])
def test_absent_data_name_the_folder_and_where_to_get_them(name: str, tmp_path: Path) -> None:
    message = refusal(name, tmp_path)

    settings = data.config(name)
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
    found = data.load("mine", folder_set, "train")

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
    found = data.load("mine", folder_set, "test")

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

    train, test = (data.load("mine", folder, role) for role in ("train", "test"))

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
    train, test = (data.load("mine", tiny_imagenet, role) for role in ("train", "test"))

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


# --- CIFAR's pickles


def cifar_settings(**changes: object) -> dict:
    return {
        "mirrors": "cifar10",
        "layout": "cifar",
        "splits": {"train": "train", "test": "test"},
        "sizes": {"train": 5, "test": 2},
        "classes": 3,
        "batches": {"train": ["data_batch_1", "data_batch_2"], "test": ["test_batch"]},
        "meta": "batches.meta",
        "label_key": "labels",
        "names_key": "label_names",
        **changes,
    }


def planar(pictures: np.ndarray) -> np.ndarray:
    """[N, 32, 32, 3] as CIFAR has it: a row of 1024 reds, 1024 greens, 1024 blues."""
    return np.stack([np.concatenate([p[:, :, c].ravel() for c in range(3)]) for p in pictures])


@pytest.fixture
def cifar(configs: Path, tmp_path: Path) -> tuple[Path, np.ndarray]:
    declare(configs, "mine", **cifar_settings())
    pictures = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    labels = [2, 0, 1, 1, 0, 2, 1]
    root = tmp_path / "set"
    root.mkdir()
    for name, part in (
        ("data_batch_1", slice(0, 3)),
        ("data_batch_2", slice(3, 5)),
        ("test_batch", slice(5, 7)),
    ):
        batch = {b"data": planar(pictures[part]), b"labels": labels[part], b"batch_label": b"x"}
        (root / name).write_bytes(pickle.dumps(batch, protocol=2))
    meta = {b"label_names": [b"cat", b"dog", b"ship"]}
    (root / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    return tmp_path, pictures


def test_cifar(cifar: tuple[Path, np.ndarray]) -> None:
    folder, pictures = cifar

    train, test = (data.load("mine", folder, role) for role in ("train", "test"))

    assert train.classes == ("cat", "dog", "ship")
    assert train.labels.tolist() == [2, 0, 1, 1, 0]
    assert test.labels.tolist() == [2, 1]
    np.testing.assert_array_equal(train.pixels, pictures[:5])
    for i in range(2):
        image = test.image(i)
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), pictures[5 + i])


def as_python_2_wrote_it(batch: dict) -> bytes:
    """The published files name NumPy's array constructor by its old module."""
    content = pickle.dumps(batch, protocol=2)
    assert b"numpy._core.multiarray" in content
    return content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def test_cifar_as_published_under_python_2(cifar: tuple[Path, np.ndarray]) -> None:
    folder, pictures = cifar
    batch = {b"data": planar(pictures[5:]), b"labels": [2, 1]}
    (folder / "set/test_batch").write_bytes(as_python_2_wrote_it(batch))

    np.testing.assert_array_equal(data.load("mine", folder, "test").pixels, pictures[5:])


@pytest.mark.parametrize("name", ["data_batch_2", "batches.meta"])
def test_cifar_without_a_file(cifar: tuple[Path, np.ndarray], name: str) -> None:
    (cifar[0] / "set" / name).unlink()

    check_missing(refusal("mine", cifar[0]), cifar[0] / "set" / name, "no such file")


def test_cifar_with_a_batch_too_small(cifar: tuple[Path, np.ndarray]) -> None:
    folder, pictures = cifar
    batch = {b"data": planar(pictures[:1]), b"labels": [2]}
    (folder / "set/test_batch").write_bytes(pickle.dumps(batch, protocol=2))

    message = refusal("mine", folder, "test")

    check_missing(message, folder / "set", "test has 1 samples", "expected 2 of 3")


def test_cifar_with_another_md5(cifar: tuple[Path, np.ndarray], configs: Path) -> None:
    declare(configs, "mine", **cifar_settings(md5={"test_batch": "0" * 32}))

    data.load("mine", cifar[0], "train")  # its files have no pinned sum
    message = refusal("mine", cifar[0], "test")

    check_missing(message, cifar[0] / "set/test_batch", "MD5", "expected " + "0" * 32)


@pytest.mark.parametrize("kept", [0, 10, 100, 3000])
def test_cifar_with_a_truncated_batch(cifar: tuple[Path, np.ndarray], kept: int) -> None:
    path = cifar[0] / "set/test_batch"
    path.write_bytes(path.read_bytes()[:kept])

    check_missing(refusal("mine", cifar[0], "test"), path, "not a CIFAR batch")


def test_cifar_with_damaged_bytes_never_ends_in_a_traceback(
    cifar: tuple[Path, np.ndarray],
) -> None:
    path = cifar[0] / "set/batches.meta"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    messages = []
    for _ in range(80):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        try:
            data.load("mine", cifar[0], "train")
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > 10
    assert all(f" {cifar[0] / 'set'}" in message for message in messages)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({b"data": None}, "not CIFAR's batches"),
        ({b"data": np.zeros((2, 100), np.uint8)}, "not CIFAR's batches"),
        ({b"labels": ["cat", "dog"]}, "not CIFAR's batches"),
        ({b"data": np.zeros((1, 3072), np.uint8)}, "test has 1 pictures, 2 labels"),
        ({b"labels": [0, 3]}, "test has labels 0 to 3, expected 0 to 2"),
        ({b"labels": [-1, 2]}, "test has labels -1 to 2, expected 0 to 2"),
    ],
)
def test_cifar_with_a_batch_of_other_content(
    cifar: tuple[Path, np.ndarray], change: dict, words: str
) -> None:
    folder, pictures = cifar
    batch = {b"data": planar(pictures[5:]), b"labels": [2, 1], **change}
    (folder / "set/test_batch").write_bytes(pickle.dumps(batch, protocol=2))

    check_missing(refusal("mine", folder, "test"), folder / "set", words)


@pytest.mark.parametrize("key", [b"data", b"labels"])
def test_cifar_with_a_batch_without_a_part(cifar: tuple[Path, np.ndarray], key: bytes) -> None:
    path = cifar[0] / "set/test_batch"
    batch = pickle.loads(path.read_bytes(), encoding="bytes")
    del batch[key]
    path.write_bytes(pickle.dumps(batch, protocol=2))

    check_missing(refusal("mine", cifar[0], "test"), cifar[0] / "set", key.decode())


class Evil:
    """What an attacker pickles: a call to be made on loading."""

    def __init__(self, call: Callable, *arguments: object) -> None:
        self.call = call, arguments

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize(
    ("call", "named"),
    [(os.system, "system"), (eval, "eval"), (np.load, "load"), (np.fromfile, "fromfile")],
)
def test_cifar_that_calls_anything_is_refused_and_calls_nothing(
    cifar: tuple[Path, np.ndarray], call: Callable, named: str, protocol: int
) -> None:
    folder, _ = cifar
    sign = folder / "called"
    argument = {os.system: f"touch {sign}", eval: f"open({str(sign)!r}, 'w')"}.get(call, str(sign))
    path = folder / "set/test_batch"
    path.write_bytes(pickle.dumps({b"data": Evil(call, argument)}, protocol=protocol))

    message = refusal("mine", folder, "test")

    check_missing(message, path, "it asks for", named)
    assert not sign.exists()


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
    images = data.ImageSet("x", "x", "x", ("a",), np.zeros(1, np.int64), tmp_path, (name,))

    found = images.image(0)

    assert found.mode == "RGB"
    assert found.size == (16, 12)
    np.testing.assert_allclose(np.asarray(found), np.broadcast_to(expected, (12, 16, 3)), atol=4)


def test_a_palette_comes_out_in_its_colours(tmp_path: Path) -> None:
    image = Image.new("P", (16, 12), 1)
    image.putpalette([0, 0, 0, 200, 30, 60])
    image.save(tmp_path / "x.png")
    images = data.ImageSet("x", "x", "x", ("a",), np.zeros(1, np.int64), tmp_path, ("x.png",))

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
    images = data.ImageSet("x", "x", "x", ("a",), np.zeros(1, np.int64), tmp_path, ("x.jpg",))

    with pytest.raises(InputError) as caught:
        images.image(0)

    assert str(caught.value).startswith(f"{path}: not a readable image")


# --- subsets, fingerprints, splits


def test_subset_of_files(folder_set: Path) -> None:
    found = data.load("mine", folder_set, "train").subset(np.array([4, 0]))

    assert found.files == ("train/b/2.JPEG", "train/a/10.jpeg")
    assert found.labels.tolist() == [1, 0]
    assert found.classes == ("a", "b")
    np.testing.assert_allclose(reds(found), [0, 120], atol=3)


def test_subset_of_pixels(make_images: Callable[..., data.ImageSet]) -> None:
    images = make_images(12)

    found = images.subset(np.array([7, 2, 2]))

    assert found.labels.tolist() == [1, 2, 2]
    np.testing.assert_array_equal(found.pixels, images.pixels[[7, 2, 2]])


def test_limited_is_a_random_part_of_its_size(make_images: Callable[..., data.ImageSet]) -> None:
    images = make_images(200)
    assert data.limited(images, None, 0) is images

    one, two, other = (data.limited(images, 30, seed) for seed in (0, 0, 1))

    places = {picture.tobytes(): i for i, picture in enumerate(images.pixels)}
    taken = [places[picture.tobytes()] for picture in one.pixels]
    assert len(set(taken)) == len(one) == 30
    assert one.labels.tolist() == [i % 3 for i in taken]
    assert one.classes == images.classes
    assert max(taken) > 100, "not only the first"
    np.testing.assert_array_equal(one.pixels, two.pixels)
    assert not np.array_equal(one.pixels, other.pixels)
    assert len(data.limited(images, 999, 0)) == 200


@pytest.mark.parametrize("limit", [0, -5])
def test_a_limit_below_one_is_refused(
    make_images: Callable[..., data.ImageSet], limit: int
) -> None:
    with pytest.raises(InputError, match=f"a limit of {limit} samples: expected 1 or more"):
        data.limited(make_images(12), limit, 0)


def test_fingerprint_sees_labels_names_sizes_and_order(folder_set: Path) -> None:
    images = data.load("mine", folder_set, "train")
    test = data.load("mine", folder_set, "test")
    before = data.fingerprint(images, test)
    assert before == data.fingerprint(data.load("mine", folder_set, "train"), test)
    assert before == data.fingerprint(replace(images, root=images.root / ".." / "set"), test)

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
        seen.add(data.fingerprint(*changed))
    assert len(seen) == 7

    picture = folder_set / "set/train/a/9.jpeg"
    picture.write_bytes(picture.read_bytes() + b"\0")
    seen.add(data.fingerprint(images, test))
    picture.rename(picture.with_name("91.jpeg"))
    seen.add(data.fingerprint(data.load("mine", folder_set, "train"), test))
    assert len(seen) == 9


def test_fingerprint_sees_pixels(make_images: Callable[..., data.ImageSet]) -> None:
    images = make_images(6)
    pixels = images.pixels.copy()
    pixels[3, 5, 5, 1] ^= 1

    assert data.fingerprint(images) != data.fingerprint(replace(images, pixels=pixels))


def test_described(folder_set: Path) -> None:
    sets = [data.load("mine", folder_set, role) for role in ("train", "test")]

    found = data.described("0" * 64, *sets)

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

    kept, held = data.per_class_split(labels, part, seed=0)

    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert np.all(np.diff(kept) > 0)
    assert np.all(np.diff(held) > 0)
    for label, count in counts.items():
        wanted = 0 if count == 1 else max(1, round(part * count))
        assert np.sum(labels[held] == label) == wanted


def test_per_class_split_follows_its_seed() -> None:
    labels = np.arange(200) % 4
    one, two, other = (data.per_class_split(labels, 0.2, seed)[1].tolist() for seed in (0, 0, 1))

    assert one == two
    assert one != other
