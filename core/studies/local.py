"""Runs a graph on this machine: processes side by side, each after what it needs."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

from core.errors import Interrupted

POLL_S = 0.1


def launch(words: Sequence[str], gpus: int) -> list[str]:
    """The command line of a run: plain, or one process per GPU by torchrun."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus)]
    return [sys.executable, *(several if gpus > 1 else []), "-m", "trickbench", *words]


def shown(command: Sequence[str]) -> str:
    """A command line as one would type it, with the interpreter's name alone."""
    return shlex.join(["python", *command[1:]])


def in_order(needs: Mapping[Path, frozenset[Path]]) -> list[Path]:
    """Runs, each after what it needs."""
    return list(TopologicalSorter(needs).static_order())


def chain_lengths(needs: Mapping[Path, frozenset[Path]]) -> dict[Path, int]:
    """How many runs wait for a run, one after the other: the longest such chain starts first."""
    lengths = dict.fromkeys(needs, 0)
    for run in reversed(in_order(needs)):
        for needed in needs[run]:
            lengths[needed] = max(lengths[needed], lengths[run] + 1)
    return lengths


def execute(
    commands: Mapping[Path, Sequence[str]],
    needs: Mapping[Path, frozenset[Path]],
    jobs: int,
    threads: int | None = None,
) -> int:
    """Starts each command once all that it needs have succeeded, `jobs` of them at a time.

    A run that fails leaves the others running; those that need it are skipped and named. On Ctrl-C
    and SIGTERM all runs are asked to save their states.

    Args:
        commands: command lines by run directory.
        threads: OMP_NUM_THREADS of each run; None leaves it as it is.

    Returns:
        0; or the exit status of the first that failed, or of an interrupted one.
    """
    order, chains = TopologicalSorter(needs), chain_lengths(needs)
    order.prepare()
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    waiting: list[Path] = []
    running: dict[Path, subprocess.Popen] = {}
    failed: dict[Path, int] = {}
    for number in (signal.SIGTERM, signal.SIGUSR1):  # end the loop as Ctrl-C does
        signal.signal(number, signal.default_int_handler)
    try:
        while order.is_active():
            waiting = sorted([*waiting, *order.get_ready()], key=chains.__getitem__, reverse=True)
            while waiting and len(running) < jobs:
                run = waiting.pop(0)
                if missing := needs[run] & failed.keys():
                    failed[run] = failed[min(missing)]
                    print(f"{run}: skipped, because {min(missing)} failed", file=sys.stderr)
                    order.done(run)
                else:
                    running[run] = _start(commands[run], environment)
            for run in _ended(running):
                if (status := running.pop(run).returncode) != 0:
                    failed[run] = status
                    print(f"{run}: failed with exit status {status}", file=sys.stderr)
                order.done(run)
            time.sleep(POLL_S if running else 0)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to resume", file=sys.stderr)
        return Interrupted.status
    finally:
        _end(running.values())
    interrupted = Interrupted.status in failed.values()
    return Interrupted.status if interrupted else next(iter(failed.values()), 0)


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen:
    """Starts a command in a session of its own: Ctrl-C reaches this process alone."""
    print(shown(command), flush=True)
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _ended(running: Mapping[Path, subprocess.Popen]) -> list[Path]:
    return [run for run, process in running.items() if process.poll() is not None]


def _end(processes: Collection[subprocess.Popen]) -> None:
    """Asks processes to save their states, and waits until they have."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()
