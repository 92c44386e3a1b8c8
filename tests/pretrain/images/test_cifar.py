"""CIFAR's pickles: read as published; what damaged and malicious ones get."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.errors import InputError
from pretrain.images import datasets

GET_IT = "ask the librarian"


def declare(configs: Path, name: str, **settings: object) -> None:
    """Writes a file of configs/data."""
    settings = {"mirrors": "imagenet", "root": "set", "get_it": GET_IT, **settings}
    lines = [f"{key} = {value!r}\n" for key, value in settings.items()]
    (configs / "data" / f"{name}.py").write_text("".join(lines))


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

    train, test = (datasets.load("mine", folder, role) for role in ("train", "test"))

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

    np.testing.assert_array_equal(datasets.load("mine", folder, "test").pixels, pictures[5:])


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

    datasets.load("mine", cifar[0], "train")  # its files have no pinned sum
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
