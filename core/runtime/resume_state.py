"""The exchange file, which every later stage reads, and the resume state, which stays here."""

from __future__ import annotations

import contextlib
import io
import sys
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import Diverged, InputError, RunError
from core.files import write_atomically
from core.runtime import distributed

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
