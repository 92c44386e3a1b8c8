"""Interruptions: signals, killed loader processes, a full disk, errors."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import kills
from core.errors import Interrupted
from core.runtime import resume_state, signals
from pretrain.images import loader
from pretrain.recipe import Recipe
from pretrain.training import loop

MakeJob = Callable[..., loop.Job]
ROOT = Path(__file__).resolve().parents[3]
CPU = torch.device("cpu")
BOTH = [signal.SIGTERM, signal.SIGUSR1]


# --- requests


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_leaves_a_mark_and_nothing_else(number: signal.Signals) -> None:
    with signals.catch_stop_signals() as request:
        assert not request
        assert request.signal is None
        os.kill(os.getpid(), number)
        assert request
        assert request.signal is number
    assert not signals.StopRequest()


@pytest.mark.parametrize("error", [None, KeyError])
def test_the_handlers_from_before_come_back(error: type[Exception] | None) -> None:
    noted = []
    before = {number: signal.signal(number, lambda n, _: noted.append(n)) for number in BOTH}
    try:
        with contextlib.suppress(KeyError), signals.catch_stop_signals() as request:
            if error:
                raise error
        for number in BOTH:
            os.kill(os.getpid(), number)
        assert noted == BOTH
        assert not request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stopping(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int, number: int
) -> None:
    """Sends this process a signal at the n-th call of a function."""
    whole, calls = getattr(owner, name), []

    def called(*arguments: object) -> object:
        calls.append(0)
        if len(calls) == call:
            os.kill(os.getpid(), number)
        return whole(*arguments)

    monkeypatch.setattr(owner, name, called)


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("call", [1, 3, 5])
def test_a_run_told_to_stop_finishes_its_step_and_saves_it(
    make_job: MakeJob,
    tiny_recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    call: int,
) -> None:
    job = make_job(tiny_recipe)
    stopping(monkeypatch, loop.Trainer, "train_step", call, number)

    with pytest.raises(Interrupted) as caught:
        loop.fit(job)

    assert str(caught.value) == (
        f"{job.name}: stopped by {number.name} after step {call} of 9; the state is saved: run "
        f"the same command again to resume"
    )
    state = resume_state.load_state(job.out, CPU)
    assert state["step"] == call
    assert len(state["history"]) == call // 4, "the third step's epoch is not evaluated yet"


def test_a_run_told_to_stop_in_an_evaluation_makes_it_later(
    make_job: MakeJob, tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted evaluation is repeated from its start, with the same result."""
    straight = loop.fit(make_job(tiny_recipe, "straight"))
    job = make_job(tiny_recipe)
    with monkeypatch.context() as fatal:
        stopping(fatal, loader.EvaluationView, "__getitem__", 21 + 10, signal.SIGTERM)
        with pytest.raises(Interrupted, match="after step 6 of 9"):
            loop.fit(job)
    state = resume_state.load_state(job.out, CPU)
    assert [entry["step"] for entry in state["history"]] == [3]

    resumed = loop.fit(job)

    assert all(torch.equal(t, straight.tensors[name]) for name, t in resumed.tensors.items())
    assert history(job.out) == history(job.out.parent / "straight")


def history(folder: Path) -> list[dict[str, float]]:
    entries = json.loads((folder / "history.json").read_text())
    return [{k: v for k, v in entry.items() if k != "images_per_s"} for entry in entries]


# --- the loader's processes


@pytest.fixture
def signal_a_worker(
    monkeypatch: pytest.MonkeyPatch, children: Callable[[int], list[int]]
) -> Callable[[int], list[int]]:
    """Sends a loader process a signal at the second step; returns its process id."""

    def arrange(number: int) -> list[int]:
        whole, sent = loop.Trainer.train_step, []
        before = set(children(os.getpid()))

        def step(trainer: loop.Trainer, batches: list) -> torch.Tensor:
            if trainer.step == 1:
                sent.append(sorted(set(children(os.getpid())) - before)[0])
                os.kill(sent[0], number)
                time.sleep(0.3)
            return whole(trainer, batches)

        monkeypatch.setattr(loop.Trainer, "train_step", step)
        return sent

    return arrange


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.04])
def test_a_killed_loader_process_ends_the_run_with_what_to_do(
    folder: Path, children: Callable[[int], list[int]], delay: float
) -> None:
    """As when memory runs out, in any phase of the run. It resumes from the newest state."""
    setting = next(s for s, _ in kills.SETTINGS if s.recipe is kills.PLAIN)
    endless = replace(setting, recipe=replace(setting.recipe, epochs=400), save_every=1)
    first = kills.start(folder, endless)
    worker = None
    while worker is None:
        assert first.running()
        if ["step", "2"] in first.notes():
            time.sleep(delay)
            worker = next(iter(children(first.pids()[0])), None)
    os.kill(worker, signal.SIGKILL)
    began = time.monotonic()
    first.wait()

    assert time.monotonic() - began < 8, "it waits for nobody"
    assert first.codes() == [1]
    line = (folder / "output").read_text().splitlines()[-1]
    told = (f"DataLoader worker (pid {worker}) ", "ConnectionResetError", "EOFError")
    assert line.startswith(tuple(f"trickbench: a loader process died ({how}" for how in told))
    assert "try fewer with WORKERS=, now 2. Run the same command again to resume" in line
    saved = kills.step_of(resume_state.states(folder / "run")[0])
    assert saved >= 1, "the second may have been on its way"

    again = kills.start(folder, endless)
    while not any(note[0] == "step" for note in again.notes()):
        assert again.running()
        time.sleep(0.01)
    again.send(signal.SIGTERM, again.pids())
    again.wait()

    assert again.notes()[0][2] == str(saved)
    assert again.codes() == [75]


@pytest.mark.parametrize("number", BOTH)
def test_a_loader_process_leaves_signals_to_the_run(
    make_job: MakeJob,
    tiny_recipe: Recipe,
    signal_a_worker: Callable[[int], list[int]],
    number: signal.Signals,
) -> None:
    job = make_job(replace(tiny_recipe, epochs=1), workers=2)
    sent = signal_a_worker(number)

    loop.fit(job)

    assert len(sent) == 1
    assert resume_state.load_state(job.out, CPU)["step"] == 3


FAILING = """
import os, sys, signal, time
from pathlib import Path
from benchmarks import kills
from core import errors
from pretrain.images import loader
from pretrain.training import loop

def fail(trainer, batches):
    raise {error}

def late(worker):
    Path(sys.argv[1], "worker").write_text(str(os.getpid()))
    time.sleep(2)  # so that its parent is gone
    usual(worker)

usual = loader.ignore_stop_signals
if {orphan}:
    loader.ignore_stop_signals = late
loop.Trainer.train_step = fail
setting = next(s for s, _ in kills.SETTINGS if s.workers == 2)
sys.exit(errors.exit_status(lambda: kills.train_once(Path(sys.argv[1]), setting)))
"""


def failing(folder: Path, error: str, orphan: bool = False) -> subprocess.Popen:
    script = FAILING.format(error=error, orphan=orphan)
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def test_an_unforeseen_error_ends_the_process_though_its_loader_ignores_sigterm(
    folder: Path,
) -> None:
    """Python ends its remaining child processes with SIGTERM, and waits for them."""
    process = failing(folder, "RuntimeError('CUDA error: out of memory')")
    try:
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()

    assert process.returncode == 1
    assert "RuntimeError: CUDA error: out of memory" in output


def test_a_loader_process_whose_parent_is_gone_before_it_has_begun_ends(folder: Path) -> None:
    """Otherwise it would wait for ever: it mistakes the process that adopted it for its parent."""
    process = failing(folder, "RuntimeError", orphan=True)
    while not (folder / "worker").exists() or not (folder / "worker").read_text():
        assert process.poll() is None
        time.sleep(0.01)
    worker = int((folder / "worker").read_text())
    process.kill()
    process.wait()

    began = time.monotonic()
    while alive(worker):
        assert time.monotonic() - began < 20
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


# --- a full disk


def test_a_full_disk_ends_the_run_in_one_line_and_the_states_are_whole(folder: Path) -> None:
    """A file size limit that states exceed once they hold momenta.

    Without the limit the run then resumes, and ends with the bytes of an uninterrupted one.
    """
    setting = next(s for s, _ in kills.SETTINGS if s.name == "SGD, all tricks")
    setting = replace(setting, recipe=replace(setting.recipe, epochs=2.5))
    (folder.parent / "reference").mkdir()
    expected = kills.refer(folder.parent / "reference", setting).result
    first = kills.start(folder, setting, fatal_write=4, phase="written")
    first.wait()
    saved = resume_state.states(folder / "run")
    before = {path: path.read_bytes() for path in saved}
    limit = saved[0].stat().st_size - 1000
    assert limit > 100_000, "for everything else there is room"

    full = kills.start(folder, setting)
    resource.prlimit(full.pids()[0], resource.RLIMIT_FSIZE, (limit, limit))
    full.wait()

    assert full.codes() == [2]
    line = (folder / "output").read_text().splitlines()[-1]
    assert line.startswith("trickbench: ")
    assert "File too large" in line
    assert line.endswith("; earlier checkpoints are intact")
    assert {path: path.read_bytes() for path in resume_state.states(folder / "run")} == before
    assert [*(folder / "run").glob(".*")] == [], "no part of a file stays"

    again = kills.start(folder, setting)
    again.wait()

    assert again.codes() == [0]
    assert [*(folder / "run").glob(".*")] == []
    assert kills.result(folder / "run") == expected
