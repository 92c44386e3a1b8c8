"""The exchange file, which every later stage reads, and the resume state, which stays here."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from pretrain import distributed
from pretrain.errors import Diverged, InputError, RunError
from results.record import write_atomically

FORMAT = "trickbench-backbone-1"


@dataclass(frozen=True)
class Exchange:
    """What an exchange file says about its tensors, whose names are timm's.

    Attributes:
        mean, std: of RGB in [0, 1], what the images were normalised with.
        resolution, crop_ratio, interpolation: of the evaluation on the source task.
        recipe: what made the weights: a recipe's name, or a specification ("random:resnet50d").
        record_sha256: of the training record; empty where there is none.
    """

    architecture: str
    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resolution: int
    crop_ratio: float
    interpolation: Literal["bilinear", "bicubic"]
    pretrained: bool
    recipe: str
    protocol: str
    seed: int
    dataset: str
    record_sha256: str


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, types, shapes and bytes of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(np.asarray(tensor.reshape(-1).view(torch.uint8)).tobytes())
    return digest.hexdigest()


def save_exchange(path: Path, tensors: Mapping[str, Tensor], about: Exchange) -> None:
    """Writes an exchange file, whole or not at all."""
    metadata = {"format": FORMAT} | {k: json.dumps(v) for k, v in asdict(about).items()}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save_safetensors(contiguous, metadata))


def load_exchange(path: Path) -> tuple[dict[str, Tensor], Exchange]:
    """Tensors of an exchange file, on the CPU, and what it says about them.

    Raises:
        InputError: as `read_about` does.
    """
    about = read_about(path)
    return load_safetensors(path.read_bytes()), about


def read_about(path: Path) -> Exchange:
    """What an exchange file says about its tensors, which are not read.

    Raises:
        InputError: no such file, not a safetensors file, or without this project's metadata.
    """
    metadata = read_metadata(path)
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"{path}: no exchange file of this project (format {metadata.get('format')!r}, "
            f"expected {FORMAT!r}); for weights from elsewhere say file:{path},arch=NAME"
        )
    try:
        values = {field.name: json.loads(metadata[field.name]) for field in fields(Exchange)}
    except (KeyError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: its metadata are damaged ({error})") from error
    values |= {key: tuple(values[key]) for key in ("mean", "std")}
    return Exchange(**values)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; empty if it has none.

    Raises:
        InputError: no such file, or not a whole safetensors file.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error


KEEP = 2  # resume states: the newest, and the one before in case the newest is damaged


def states(folder: Path) -> list[Path]:
    """The resume states of a run, the newest first."""
    return sorted(folder.glob("state-*.pt"), reverse=True)


def save_state(folder: Path, step: int, state: dict[str, Any], advice: str) -> None:
    """Called by all processes with the state of a step; the first one writes it.

    Args:
        advice: what to do about a training that diverges.

    Raises:
        Diverged: in all of them, if a tensor is not finite; nothing is written.
        OSError: the disk is full; the earlier states are untouched.
    """
    if name := distributed.from_first(partial(not_finite, state)):
        raise Diverged(
            f"step {step}: {name} is not finite, so this state was not saved: {advice}; the newest "
            f"saved state is from before"
        )
    if distributed.rank() == 0:
        write_state(folder, step, state)


def write_state(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Writes a state, whole or not at all, and removes all but the newest `KEEP`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(folder / f"state-{step:09d}.pt", buffer.getvalue())
    for old in states(folder)[KEEP:]:
        old.unlink()


def not_finite(state: dict[str, Any]) -> str | None:
    """The first tensor of a state that is not finite."""
    for name, tensor in tensors_of(state):
        if tensor.is_floating_point() and not tensor.isfinite().all():
            return name
    return None


def tensors_of(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in nested dictionaries and lists, with the keys that lead to them."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping | list | tuple):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in items:
            yield from tensors_of(inner, f"{name}.{key}" if name else str(key))


def load_state(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """The newest resume state that is whole, or None where a run has not saved any yet.

    A damaged one is named on standard error, and the one before it used; it is then renamed, so as
    not to count among those that are kept.

    Raises:
        InputError: there are states, and all are damaged.
    """
    found = states(folder)
    for place, path in enumerate(found):
        try:
            state = read_state(path.read_bytes(), device)
        except Exception as error:  # what damaged bytes raise depends on where the damage is
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            warning = f"trickbench: {path}: the saved state is damaged ({reason}); passed over"
            print(warning, file=sys.stderr, flush=True)
        else:
            for damaged in found[:place]:
                with contextlib.suppress(FileNotFoundError):  # another process was quicker
                    damaged.rename(damaged.with_suffix(".damaged"))
            return state
    if found:
        raise InputError(
            f"{folder}: every saved state is damaged; remove the folder to start this run again"
        )
    return None


def load_common_state(folder: Path, device: torch.device, count: str) -> dict[str, Any] | None:
    """`load_state`, by all processes of a group.

    Args:
        count: the key of the steps that a state has behind it.

    Raises:
        RunError: the processes do not see the same state.
    """
    state = load_state(folder, device)
    seen = distributed.from_all(None if state is None else state[count])
    if len(set(seen)) > 1:
        raise RunError(f"{folder}: the processes see states of the {count}s {seen}")
    return state


def read_state(content: bytes, device: torch.device) -> dict[str, Any]:
    """Resume state from the bytes of its file; raises whatever damage makes its readers raise."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # torch.load does not compare the checksums that torch.save writes
        if (member := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"bad checksum of {member}")
    return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
