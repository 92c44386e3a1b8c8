"""The exchange file: intact or refused, and the hash of the weights."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from core.errors import InputError
from core.exchange import Exchange, load_exchange, read_metadata, save_exchange, weights_sha256

ABOUT = Exchange(
    architecture="resnet50d",
    classes=1000,
    mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
    std=(58.393 / 255, 57.12 / 255, 57.375 / 255),
    resolution=224,
    crop_ratio=0.875,
    interpolation="bilinear",
    pretrained=True,
    recipe="best",
    protocol="paper",
    seed=3,
    dataset="imagenet",
    record_sha256="ab" * 32,
)


def tensors() -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    return {
        "fc.weight": torch.from_numpy(rng.normal(size=(4, 6)).astype(np.float32)),
        "bn.running_var": torch.ones(4),
        "bn.num_batches_tracked": torch.tensor(7),
        "half": torch.arange(6).reshape(2, 3).to(torch.float16),
    }


@pytest.fixture
def exchange(tmp_path: Path) -> Path:
    path = tmp_path / "runs" / "backbone.safetensors"
    save_exchange(path, tensors(), ABOUT)
    return path


def test_exchange_round_trip(exchange: Path) -> None:
    found, about = load_exchange(exchange)

    assert about == ABOUT
    assert type(about.mean) is tuple
    assert set(found) == set(tensors())
    for name, tensor in tensors().items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_exchange_is_plain_safetensors_with_json_metadata(exchange: Path) -> None:
    with safetensors.safe_open(exchange, framework="np") as file:
        metadata = file.metadata()
        np.testing.assert_array_equal(file.get_tensor("fc.weight"), tensors()["fc.weight"].numpy())

    assert metadata.pop("format") == "trickbench-backbone-2"
    assert metadata.pop("tensors_sha256") == weights_sha256(tensors())
    assert len(metadata.pop("metadata_sha256")) == 64
    read = {key: json.loads(value) for key, value in metadata.items()}
    assert read == {**asdict(ABOUT), "mean": list(ABOUT.mean), "std": list(ABOUT.std)}


def test_exchange_of_tensors_in_other_memory_orders(tmp_path: Path) -> None:
    image = torch.rand(2, 3, 4, 5)
    given = {
        "last": image.contiguous(memory_format=torch.channels_last),
        "turned": torch.rand(3, 5).T,
        "leaf": torch.rand(3, requires_grad=True),
    }
    path = tmp_path / "x.safetensors"

    save_exchange(path, given, replace(ABOUT, record_sha256=""))

    found, about = load_exchange(path)
    assert about.record_sha256 == ""
    assert all(torch.equal(found[name], given[name]) for name in given)
    assert weights_sha256(found) == weights_sha256(given)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_exchange(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "no such checkpoint" in refusal(tmp_path / "x.safetensors")
    assert "no such checkpoint" in refusal(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 8, 100, -1])
def test_a_truncated_file_is_refused(exchange: Path, kept: int) -> None:
    exchange.write_bytes(exchange.read_bytes()[:kept])

    assert "not a readable safetensors file" in refusal(exchange)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    torch.save(tensors(), path)

    assert "not a readable safetensors file" in refusal(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_weights_of_another_source_are_refused_with_how_to_import_them(
    tmp_path: Path, metadata: dict | None
) -> None:
    path = tmp_path / "timm.safetensors"
    safetensors.torch.save_file(tensors(), path, metadata)

    message = refusal(path)

    assert repr((metadata or {}).get("format")) in message
    assert f"file:{path},arch=NAME" in message
    assert read_metadata(path) == (metadata or {})


# --- the hash


def by_hand(*parts: tuple[str, bytes]) -> str:
    digest = hashlib.sha256()
    for header, content in parts:
        digest.update(header.encode() + b"\n" + content)
    return digest.hexdigest()


def test_the_hash_by_hand() -> None:
    """Sorted names, each with its type, shape and bytes."""
    given = {"b": torch.tensor([[1.0, 2.0]]), "a": torch.tensor(7)}

    expected = by_hand(
        ("a torch.int64 ()", np.int64(7).tobytes()),
        ("b torch.float32 (1, 2)", np.array([1, 2], np.float32).tobytes()),
    )
    assert weights_sha256(given) == expected


def test_the_hash_does_not_depend_on_the_order_or_the_memory() -> None:
    given = tensors()
    backwards = dict(reversed(given.items()))
    turned = {**given, "fc.weight": given["fc.weight"].T.contiguous().T}

    hashes = {weights_sha256(t) for t in (given, backwards, turned)}

    assert len(hashes) == 1


def test_the_hash_depends_on_name_shape_type_and_every_bit() -> None:
    given = tensors()
    one_bit = given["fc.weight"].clone()
    one_bit.view(torch.int32)[2, 3] ^= 1
    assert (one_bit != given["fc.weight"]).sum() == 1
    weight = given.pop("fc.weight")
    changed = [
        {**given, "fc.weight": weight},
        {**given, "fc.weight": one_bit},
        {**given, "fd.weight": weight},
        {**given, "fc.weight": weight.reshape(6, 4)},
        {**given, "fc.weight": weight.reshape(24)},
        {**given, "fc.weight": weight.view(torch.int32)},
        {**given, "fc.weight": weight.double()},
        {**given, "fc.weight": weight, "more": torch.zeros(0)},
        given,
    ]

    assert len({weights_sha256(t) for t in changed}) == len(changed)


def test_the_hash_takes_every_type() -> None:
    kinds = (torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.bool, torch.uint8)
    given = [{"x": torch.ones(3).to(kind)} for kind in kinds]

    assert len({weights_sha256(t) for t in given}) == len(kinds)


# --- damage


def flipped(path: Path, places: list[int], bit: int = 0x40) -> None:
    """Flips a bit of some bytes of a file."""
    content = bytearray(path.read_bytes())
    for place in places:
        content[place] ^= bit
    path.write_bytes(content)


def test_a_flipped_bit_of_a_tensor_is_refused(exchange: Path) -> None:
    """In each byte of the tensors, which lie behind the header, whose length comes first."""
    whole = exchange.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in range(header, len(whole)):
        exchange.write_bytes(whole)
        flipped(exchange, [place])
        assert "damaged: its tensors have SHA-256" in refusal(exchange)
    exchange.write_bytes(whole)
    assert load_exchange(exchange)[1] == ABOUT


def test_a_flipped_bit_of_the_header_is_refused_or_changes_nothing(exchange: Path) -> None:
    whole = exchange.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in range(header):
        exchange.write_bytes(whole)
        flipped(exchange, [place], bit=0x01)
        try:
            found, about = load_exchange(exchange)
        except InputError:
            continue
        assert about == ABOUT
        assert weights_sha256(found) == weights_sha256(tensors())


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("std", [0.0, 0.0, 0.0], "std.0=0.0: Input should be greater than 0"),
        ("mean", None, "mean=None"),
        ("mean", [0.5, 0.5], "mean.2"),
        ("resolution", 1e9, "resolution=1000000000.0: Input should be less than"),
        ("interpolation", "evil", "interpolation=evil: Input should be 'bilinear' or 'bicubic'"),
        ("crop_ratio", 0, "crop_ratio=0: Input should be greater than 0"),
        ("classes", -1, "classes=-1"),
    ],
)
def test_metadata_out_of_range_are_refused(
    exchange: Path, key: str, value: object, told: str
) -> None:
    """Of a file of the earlier format, whose metadata have no hash that would tell."""
    metadata = read_metadata(exchange) | {key: json.dumps(value), "format": "trickbench-backbone-1"}
    safetensors.torch.save_file(tensors(), exchange, metadata)
    assert f"its metadata say {told}" in refusal(exchange)


def test_changed_metadata_are_refused(exchange: Path) -> None:
    metadata = read_metadata(exchange) | {"std": "[0.1, 0.1, 0.1]"}
    safetensors.torch.save_file(tensors(), exchange, metadata)
    assert "its metadata are damaged" in refusal(exchange)


def test_a_file_of_the_earlier_format_is_read(exchange: Path) -> None:
    metadata = {key: json.dumps(value) for key, value in asdict(ABOUT).items()}
    path = exchange.with_name("earlier.safetensors")
    safetensors.torch.save_file(tensors(), path, metadata | {"format": "trickbench-backbone-1"})
    found, about = load_exchange(path)
    assert about == ABOUT
    assert weights_sha256(found) == weights_sha256(tensors())


@pytest.mark.parametrize("moment", ["replace", "fsync"])
def test_a_write_that_fails_leaves_the_old_file(
    exchange: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = exchange.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, moment, fail)
    with pytest.raises(OSError, match="No space"):
        save_exchange(exchange, {"x": torch.zeros(1)}, ABOUT)
    assert exchange.read_bytes() == before
    assert [path.name for path in exchange.parent.iterdir()] == [exchange.name]
