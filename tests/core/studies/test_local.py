"""Runs side by side: order, failures and interruptions, with small programs in place of tasks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.errors import Interrupted
from core.studies import local

A, B, C, D = (Path(name) for name in "abcd")
ROOT = Path(__file__).resolve().parents[3]


def program(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def noted(log: Path, name: str, status: int = 0) -> list[str]:
    return program(f"open({str(log)!r}, 'a').write({name!r}); raise SystemExit({status})")


def test_each_run_starts_after_what_it_needs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    needs = {A: frozenset({B}), B: frozenset({C}), C: frozenset(), D: frozenset({A})}
    commands = {run: noted(log, run.name) for run in needs}
    assert local.execute(commands, needs, jobs=4) == 0
    assert log.read_text() == "cbad"


def test_the_longest_chain_starts_first(tmp_path: Path) -> None:
    """d alone is ready first by order, but two runs wait for c."""
    log = tmp_path / "log"
    needs = {D: frozenset(), A: frozenset({B}), B: frozenset({C}), C: frozenset()}
    assert local.chain_lengths(needs) == {D: 0, A: 0, B: 1, C: 2}
    assert local.execute({run: noted(log, run.name) for run in needs}, needs, jobs=1) == 0
    assert log.read_text()[0] == "c"


def test_a_failure_skips_what_needs_it_and_nothing_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    needs = {A: frozenset(), B: frozenset({A}), C: frozenset({B}), D: frozenset()}
    commands = {run: noted(log, run.name, status=3 if run == A else 0) for run in needs}
    assert local.execute(commands, needs, jobs=1) == 3
    assert sorted(log.read_text()) == ["a", "d"]
    said = capfd.readouterr().err
    assert "a: failed with exit status 3" in said
    assert "b: skipped, because a failed" in said
    assert "c: skipped, because b failed" in said


def test_jobs_run_at_the_same_time(tmp_path: Path) -> None:
    """Each of two programs waits for the file that the other one writes."""
    code = """
import pathlib, sys, time
mine, other = map(pathlib.Path, sys.argv[1:])
mine.touch()
for _ in range(600):
    if other.exists():
        sys.exit(0)
    time.sleep(0.05)
sys.exit(1)
"""
    files = [str(tmp_path / name) for name in "xy"]
    commands = {A: [*program(code), *files], B: [*program(code), *reversed(files)]}
    assert local.execute(commands, {A: frozenset(), B: frozenset()}, jobs=2) == 0


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_an_interruption_asks_every_run_to_save(sent: signal.Signals, tmp_path: Path) -> None:
    child = """
import pathlib, signal, sys, time
def save(*_):
    pathlib.Path(sys.argv[1], "saved").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
pathlib.Path(sys.argv[1], "ready").touch()
time.sleep(60)
"""
    script = tmp_path / "parent.py"
    script.write_text(
        "import signal, sys; from pathlib import Path; from core.studies import local\n"
        # a shell without job control starts what is in the background with SIGINT ignored
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"command = [sys.executable, '-c', {child!r}, {str(tmp_path)!r}]\n"
        "sys.exit(local.execute({Path('a'): command}, {Path('a'): frozenset()}, jobs=1))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(script)], env=environment) as parent:
        while not (tmp_path / "ready").exists():
            assert parent.poll() is None
            time.sleep(0.05)
        parent.send_signal(sent)
        assert parent.wait(timeout=60) == Interrupted.status
    assert (tmp_path / "saved").exists()
