"""Killed runs end with the bytes of an uninterrupted one: a short form of the benchmark."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import kills
from core.runtime import resume_state

SHORT = {"epochs": 4.5}  # of 4 steps each


def setting(name: str, **changes: object) -> kills.Setting:
    found = next(s for s, _ in kills.SETTINGS if s.name == name)
    return replace(found, recipe=replace(found.recipe, **SHORT), **changes)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("SGD, all tricks", 3),
        ("LAMB, all tricks, 2 workers", 3),
        ("SGD, all tricks, 2 processes", 2),
    ],
)
def test_killed_runs_end_with_the_same_bytes(
    name: str, count: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")  # which pytest shows if this fails

    row = kills.torment(setting(name), count, random.Random(seed), tmp_path / "runs")

    assert row.runs >= 1
    assert row.killed >= count


def states(folder: Path) -> dict[int, bytes]:
    return {kills.step_of(p): p.read_bytes() for p in resume_state.states(folder / "run")}


@pytest.mark.parametrize(
    ("phase", "steps"), [("torn", [4, 2]), ("written", [4, 2]), ("renamed", [6, 4, 2])]
)
def test_a_process_killed_while_it_writes_leaves_whole_states(
    folder: Path, phase: str, steps: list[int]
) -> None:
    """Killed with half of the third state's bytes on disk, with all, or after the renaming."""
    tried = setting("SGD, all tricks", save_every=2)
    attempt = kills.start(folder, tried, fatal_write=3, phase=phase)
    attempt.wait()
    assert attempt.codes() == [-signal.SIGKILL]

    assert list(states(folder)) == steps
    for content in states(folder).values():
        resume_state.read_state(content, kills.torch.device("cpu"))

    again = kills.start(folder, tried)
    again.wait()

    assert again.codes() == [0]
    assert again.notes()[0][2] == str(steps[0])
    assert len(states(folder)) == 2
    assert [path.name for path in (folder / "run").glob(".*")] == [], "nothing half written stays"


def reach(attempt: kills.Attempt, step: int) -> None:
    """Waits until a step is finished."""
    began = time.monotonic()
    while ["step", str(step)] not in attempt.notes():
        assert attempt.running()
        assert time.monotonic() - began < 60
        time.sleep(0.002)


def test_a_folder_has_one_run_at_a_time_until_that_is_killed(
    folder: Path, children: Callable[[int], list[int]]
) -> None:
    """The second run is a new process; the first one's loader processes outlive it for a while."""
    endless = setting("SGD, no averaging, 2 workers")
    endless = replace(endless, recipe=replace(endless.recipe, epochs=400))
    first = kills.start(folder, endless)
    reach(first, 1)

    second = kills.start(folder, endless)
    second.wait()

    assert second.codes() == [2]
    said = (folder / "output").read_text()
    pid = first.pids()[0]
    assert f"trickbench: {folder / 'run'}: another run is at work there (process {pid} on " in said
    assert first.running(), "the first one does not notice"

    stopped = []
    for child in children(pid):  # so that they do not end before the third begins
        os.kill(child, signal.SIGSTOP)
        stopped.append(child)
    assert len(stopped) == 2
    os.kill(pid, signal.SIGKILL)
    first.wait()
    third = kills.start(folder, endless)
    reach(third, 1)

    assert all(Path(f"/proc/{child}").exists() for child in stopped)
    for child in stopped:
        os.kill(child, signal.SIGKILL)
    os.killpg(third.pids()[0], signal.SIGTERM)  # which its loader's processes leave to it
    third.wait()
    assert third.codes() == [75]


def test_the_loaders_processes_end_when_their_run_is_killed(
    folder: Path, children: Callable[[int], list[int]]
) -> None:
    attempt = kills.start(folder, setting("SGD, no averaging, 2 workers"))
    reach(attempt, 1)
    pid = attempt.pids()[0]
    assert len(children(pid)) == 2

    os.kill(pid, signal.SIGKILL)
    attempt.wait()

    kills.await_end([pid])  # or it raises
