"""CIFAR's pickled batches: the published format, and errors for damaged and malicious files."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.errors import InputError
from pretrain.images import datasets

Cifar = tuple[Path, np.ndarray]  # the data root, and all images
Refusal = Callable[..., str]


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


def planar(images: np.ndarray) -> np.ndarray:
    """[N, 32, 32, 3] in CIFAR's format [N, 3072]: 1024 reds, 1024 greens, 1024 blues."""
    return np.stack([np.concatenate([i[:, :, c].ravel() for c in range(3)]) for i in images])


@pytest.fixture
def cifar(declare: Callable, tmp_path: Path) -> Cifar:
    declare("mine", **cifar_settings())
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    labels = [2, 0, 1, 1, 0, 2, 1]
    root = tmp_path / "set"
    root.mkdir()
    for name, part in (
        ("data_batch_1", slice(0, 3)),
        ("data_batch_2", slice(3, 5)),
        ("test_batch", slice(5, 7)),
    ):
        batch = {b"data": planar(images[part]), b"labels": labels[part], b"batch_label": b"x"}
        (root / name).write_bytes(pickle.dumps(batch, protocol=2))
    meta = {b"label_names": [b"cat", b"dog", b"ship"]}
    (root / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    return tmp_path, images


def test_cifar(cifar: Cifar) -> None:
    folder, images = cifar

    train, test = (datasets.load("mine", folder, role) for role in ("train", "test"))

    assert train.classes == ("cat", "dog", "ship")
    assert train.labels.tolist() == [2, 0, 1, 1, 0]
    assert test.labels.tolist() == [2, 1]
    np.testing.assert_array_equal(train.pixels, images[:5])
    for i in range(2):
        image = test.image(i)
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), images[5 + i])


def as_python_2_wrote_it(batch: dict) -> bytes:
    """The published files name NumPy's array constructor by its old module."""
    content = pickle.dumps(batch, protocol=2)
    assert b"numpy._core.multiarray" in content
    return content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def test_cifar_as_published_under_python_2(cifar: Cifar) -> None:
    folder, images = cifar
    batch = {b"data": planar(images[5:]), b"labels": [2, 1]}
    (folder / "set/test_batch").write_bytes(as_python_2_wrote_it(batch))

    np.testing.assert_array_equal(datasets.load("mine", folder, "test").pixels, images[5:])


@pytest.mark.parametrize("name", ["data_batch_2", "batches.meta"])
def test_cifar_without_a_file(cifar: Cifar, name: str, refusal: Refusal) -> None:
    (cifar[0] / "set" / name).unlink()

    refusal("mine", cifar[0], f" {cifar[0] / 'set' / name}: no such file")


def test_cifar_with_too_small_a_batch(cifar: Cifar, refusal: Refusal) -> None:
    folder, images = cifar
    batch = {b"data": planar(images[:1]), b"labels": [2]}
    (folder / "set/test_batch").write_bytes(pickle.dumps(batch, protocol=2))

    words = ("test has 1 samples", "expected 2 of 3")
    refusal("mine", folder, f" {folder / 'set'}: ", *words, role="test")


def test_cifar_with_another_md5(cifar: Cifar, declare: Callable, refusal: Refusal) -> None:
    declare("mine", **cifar_settings(md5={"test_batch": "0" * 32}))

    datasets.load("mine", cifar[0], "train")  # no MD5 of its files is pinned
    path = cifar[0] / "set/test_batch"
    refusal("mine", cifar[0], f" {path}: MD5", "expected " + "0" * 32, role="test")


@pytest.mark.parametrize("kept", [0, 10, 100, 3000])
def test_cifar_with_a_truncated_batch(cifar: Cifar, kept: int, refusal: Refusal) -> None:
    path = cifar[0] / "set/test_batch"
    path.write_bytes(path.read_bytes()[:kept])

    refusal("mine", cifar[0], f" {path}: not a CIFAR batch", role="test")


def test_cifar_with_damaged_bytes_raises_input_errors_only(cifar: Cifar) -> None:
    path = cifar[0] / "set/batches.meta"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    messages = []
    for _ in range(80):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        try:
            datasets.load("mine", cifar[0], "train")
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
        ({b"data": np.zeros((1, 3072), np.uint8)}, "test has 1 images, 2 labels"),
        ({b"labels": [0, 3]}, "test has labels 0 to 3, expected 0 to 2"),
        ({b"labels": [-1, 2]}, "test has labels -1 to 2, expected 0 to 2"),
    ],
)
def test_cifar_with_a_batch_of_other_content(
    cifar: Cifar, change: dict, words: str, refusal: Refusal
) -> None:
    folder, images = cifar
    batch = {b"data": planar(images[5:]), b"labels": [2, 1], **change}
    (folder / "set/test_batch").write_bytes(pickle.dumps(batch, protocol=2))

    refusal("mine", folder, f" {folder / 'set'}: ", words, role="test")


@pytest.mark.parametrize("key", [b"data", b"labels"])
def test_cifar_with_a_key_missing(cifar: Cifar, key: bytes, refusal: Refusal) -> None:
    path = cifar[0] / "set/test_batch"
    batch = pickle.loads(path.read_bytes(), encoding="bytes")
    del batch[key]
    path.write_bytes(pickle.dumps(batch, protocol=2))

    refusal("mine", cifar[0], f" {cifar[0] / 'set'}: ", key.decode(), role="test")


class Evil:
    """An attacker's pickle: a call to be made on loading."""

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
    cifar: Cifar, call: Callable, named: str, protocol: int, refusal: Refusal
) -> None:
    folder, _ = cifar
    sign = folder / "called"
    argument = {os.system: f"touch {sign}", eval: f"open({str(sign)!r}, 'w')"}.get(call, str(sign))
    path = folder / "set/test_batch"
    path.write_bytes(pickle.dumps({b"data": Evil(call, argument)}, protocol=protocol))

    refusal("mine", folder, f" {path}: ", "it calls", named, role="test")

    assert not sign.exists()
