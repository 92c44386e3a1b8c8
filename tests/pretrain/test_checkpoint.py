"""The exchange file and the resume state: whole or refused, and the hash of the weights."""

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

from pretrain import checkpoint
from pretrain.errors import InputError

ABOUT = checkpoint.Exchange(
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
    checkpoint.save_exchange(path, tensors(), ABOUT)
    return path


def test_exchange_round_trip(exchange: Path) -> None:
    found, about = checkpoint.load_exchange(exchange)

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

    assert metadata.pop("format") == "trickbench-backbone-1"
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

    checkpoint.save_exchange(path, given, replace(ABOUT, record_sha256=""))

    found, about = checkpoint.load_exchange(path)
    assert about.record_sha256 == ""
    assert all(torch.equal(found[name], given[name]) for name in given)
    assert checkpoint.weights_sha256(found) == checkpoint.weights_sha256(given)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        checkpoint.load_exchange(path)
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
def test_weights_from_elsewhere_are_refused_and_told_how_to_come_in(
    tmp_path: Path, metadata: dict | None
) -> None:
    path = tmp_path / "timm.safetensors"
    safetensors.torch.save_file(tensors(), path, metadata)

    message = refusal(path)

    assert repr((metadata or {}).get("format")) in message
    assert f"file:{path},arch=NAME" in message
    assert checkpoint.read_metadata(path) == (metadata or {})


# --- the hash


def by_hand(*parts: tuple[str, bytes]) -> str:
    digest = hashlib.sha256()
    for header, content in parts:
        digest.update(header.encode() + b"\n" + content)
    return digest.hexdigest()


def test_the_hash_by_hand() -> None:
    """Names in order, each with its type, its shape and its bytes."""
    given = {"b": torch.tensor([[1.0, 2.0]]), "a": torch.tensor(7)}

    expected = by_hand(
        ("a torch.int64 ()", np.int64(7).tobytes()),
        ("b torch.float32 (1, 2)", np.array([1, 2], np.float32).tobytes()),
    )
    assert checkpoint.weights_sha256(given) == expected


def test_the_hash_does_not_depend_on_the_order_or_the_memory() -> None:
    given = tensors()
    backwards = dict(reversed(given.items()))
    turned = {**given, "fc.weight": given["fc.weight"].T.contiguous().T}

    hashes = {checkpoint.weights_sha256(t) for t in (given, backwards, turned)}

    assert len(hashes) == 1


def test_the_hash_sees_name_shape_type_and_one_bit() -> None:
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

    assert len({checkpoint.weights_sha256(t) for t in changed}) == len(changed)


def test_the_hash_takes_every_type() -> None:
    kinds = (torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.bool, torch.uint8)
    given = [{"x": torch.ones(3).to(kind)} for kind in kinds]

    assert len({checkpoint.weights_sha256(t) for t in given}) == len(kinds)


# --- the resume state

CPU = torch.device("cpu")


def test_state_round_trip(tmp_path: Path) -> None:
    state = {"model": tensors(), "step": 12, "accuracy": [1.5, 2.5, 3], "nested": {"lr": [0.1]}}
    path = tmp_path / "run" / "state.pt"
    assert checkpoint.load_state(path, CPU) is None

    checkpoint.save_state(path, state)

    found = checkpoint.load_state(path, CPU)
    model = found.pop("model")
    assert found == {"step": 12, "accuracy": [1.5, 2.5, 3], "nested": {"lr": [0.1]}}
    assert all(torch.equal(model[name], tensor) for name, tensor in tensors().items())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state.pt"
    checkpoint.save_state(path, {"model": {"w": torch.arange(200.0)}, "step": 12})
    return path


def state_refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        checkpoint.load_state(path, CPU)
    message = str(caught.value)
    assert message.startswith(f"{path}: the saved state is damaged (")
    assert message.endswith("); remove it to start this run again")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("kept", [0, 1, 10, 500, -1])
def test_a_truncated_state_is_refused(state: Path, kept: int) -> None:
    state.write_bytes(state.read_bytes()[:kept])
    state_refusal(state)


@pytest.mark.parametrize("content", [b"not a state", b"\x80\x04", b"PK\x03\x04" + bytes(100)])
def test_a_state_of_another_kind_is_refused(state: Path, content: bytes) -> None:
    state.write_bytes(content)
    state_refusal(state)


def test_a_state_with_one_wrong_bit_in_its_weights_is_refused(state: Path) -> None:
    content = bytearray(state.read_bytes())
    place = bytes(content).index(np.arange(200, dtype=np.float32).tobytes()) + 100
    content[place] ^= 4
    state.write_bytes(content)

    state_refusal(state)


def test_a_damaged_state_never_loads_as_another_and_never_ends_in_a_traceback(
    state: Path,
) -> None:
    whole = state.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        state.write_bytes(damaged)
        try:
            found = checkpoint.load_state(state, CPU)
        except InputError:
            refused += 1
        else:
            assert found["step"] == 12
            assert torch.equal(found["model"]["w"], torch.arange(200.0))
    assert refused > 150


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.path}",)


def test_a_state_that_calls_anything_is_refused_and_calls_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save({"model": Evil(tmp_path / "called")}, path)

    state_refusal(path)

    assert not (tmp_path / "called").exists()


# --- writing


@pytest.mark.parametrize("moment", ["replace", "fsync"])
def test_a_write_that_fails_leaves_the_old_file(
    state: Path, exchange: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in (state, exchange)}

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, moment, fail)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save_state(state, {"step": 13})
    with pytest.raises(OSError, match="No space"):
        checkpoint.save_exchange(exchange, {"x": torch.zeros(1)}, ABOUT)

    for path, content in before.items():
        assert path.read_bytes() == content
        assert [p for p in path.parent.iterdir() if p.is_file() and p.name.startswith(".")] == []
