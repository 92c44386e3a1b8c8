"""Resume states: written atomically, checked on reading, the newest two kept."""

from __future__ import annotations

import contextlib
import io
import sys
import zipfile
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import Diverged, InputError, RunError
from core.files import write_atomically
from core.runtime import distributed

KEEP = 2  # the newest state, and the previous one in case the newest is damaged


def states(folder: Path) -> list[Path]:
    """Paths of a run's resume states, newest first."""
    return sorted(folder.glob("state-*.pt"), reverse=True)


def save_state(folder: Path, step: int, state: dict[str, Any], advice: str) -> None:
    """Saves the state of a step. All processes call it; the first one writes.

    Args:
        advice: what the user can do if the training diverged: "lower lr (now 0.1)".

    Raises:
        Diverged: in all processes, if a tensor is not finite; nothing is written.
        OSError: the disk is full; the earlier states are intact.
    """
    if name := distributed.from_first(partial(first_not_finite, state)):
        raise Diverged(
            f"step {step}: {name} is not finite, so this state was not saved: {advice}; the newest "
            f"saved state is from an earlier step"
        )
    if distributed.rank() == 0:
        write_state(folder, step, state)


def write_state(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Writes a state atomically and removes all but the newest `KEEP`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(folder / f"state-{step:09d}.pt", buffer.getvalue())
    for old in states(folder)[KEEP:]:
        old.unlink()


def first_not_finite(state: dict[str, Any]) -> str | None:
    """The name of the first tensor with a NaN or an infinity."""
    for name, tensor in tensors_of(state):
        if tensor.is_floating_point() and not tensor.isfinite().all():
            return name
    return None


def tensors_of(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in nested mappings and sequences, named by their keys: "optimiser.state.0"."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping | list | tuple):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in items:
            yield from tensors_of(inner, f"{name}.{key}" if name else str(key))


def load_state(
    folder: Path, device: torch.device, keys: Collection[str] = ()
) -> dict[str, Any] | None:
    """The newest undamaged resume state; None if the run has saved none yet.

    Damaged states are reported on standard error and renamed, so that they do not count as kept.

    Args:
        keys: what a state must have; one without is not this run's, and counts as damaged.

    Raises:
        InputError: all states are damaged.
    """
    found = states(folder)
    for i, path in enumerate(found):
        try:
            state = read_state(path.read_bytes(), device)
            if not isinstance(state, dict):
                raise TypeError(f"expected a dict, found {type(state).__name__}")
            if missing := sorted(set(keys) - state.keys()):
                raise KeyError(f"no {', '.join(missing)} in it")
        except Exception as error:  # damaged bytes can raise anything
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            warning = f"trickbench: {path}: the saved state is damaged ({reason}); skipped"
            print(warning, file=sys.stderr, flush=True)
        else:
            for damaged in found[:i]:
                with contextlib.suppress(FileNotFoundError):  # another process has renamed it
                    damaged.rename(damaged.with_suffix(".damaged"))
            return state
    if found:
        raise InputError(
            f"{folder}: every saved state is damaged; remove the folder to restart the run"
        )
    return None


def load_common_state(
    folder: Path, device: torch.device, count: str, keys: Collection[str] = ()
) -> dict[str, Any] | None:
    """`load_state` in all processes, which must find the same state.

    Args:
        count: the state's key for the number of steps done: "step" or "iter".
        keys: as in `load_state`.

    Raises:
        RunError: the processes found states of different steps.
    """
    state = load_state(folder, device, {count, *keys})
    seen = distributed.from_all(None if state is None else state[count])
    if len(set(seen)) > 1:
        raise RunError(
            f"{folder}: the processes found states of the {count}s {seen}, expected the same one: "
            f"check that all nodes share the folder"
        )
    return state


def read_state(content: bytes, device: torch.device) -> dict[str, Any]:
    """A resume state from the bytes of its file; any exception if they are damaged."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # torch.load does not verify the checksums that torch.save writes
        if (member := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"bad checksum of {member}")
    return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
