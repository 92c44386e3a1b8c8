"""The command line that all tasks share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.choices import Choices
from core.errors import InputError
from core.runtime import tracking
from core.tasks import DETECTORS, Task

# The choices that only some tasks take, as command-line options; `Task.choices` says which.
FLAGS: dict[str, dict[str, Any]] = {
    "arch": dict(help="any architecture of timm, in place of the recipe's own"),
    "detector": dict(help=f"{' or '.join(DETECTORS)}; default: {DETECTORS[0]}, the paper's"),
    "train_size": dict(type=int, help="few-shot: train on this many samples (VTAB: 1000)"),
    "images": dict(help="evaluate on this directory, which has a folder per class"),
    "resolutions": dict(type=int, nargs="+", default=(), help="in pixels, for example 160 224"),
    "crop_ratios": dict(type=float, nargs="+", default=(), help="crop over shorter side"),
}


def add_arguments(parser: argparse.ArgumentParser, tasks: Sequence[Task]) -> None:
    """The options of these tasks, which one command starts."""
    parser.add_argument(
        "--protocol", default="demo", help="demo, mini-cpu, mini or paper (default: demo)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="0 to 2^32 - 1")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of all datasets")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs")
    defaults = " ".join(dict.fromkeys(task.datasets[0] for task in tasks if task.datasets))
    parser.add_argument("--dataset", help=f"default: {defaults}" if defaults else None)
    parser.add_argument(
        "--workers", type=not_negative, default=default_workers(), help="loader processes"
    )
    parser.add_argument("--limit", type=int, help="debug run: train on this many samples only")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="change single settings for this run",
    )
    parser.add_argument(
        "--track",
        nargs="+",
        default=[],
        choices=tuple(tracking.PACKAGES),
        help="send learning curves there too; TensorBoard always gets them",
    )
    for name in dict.fromkeys(choice for task in tasks for choice in task.choices):
        parser.add_argument(f"--{name.replace('_', '-')}", **FLAGS[name])


def not_negative(text: str) -> int:
    """A whole number of an option, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 0 or more")
    return int(text)


def positive(text: str) -> int:
    """A whole number of an option, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 1 or more")
    return int(text)


def seed(text: str) -> int:
    """A seed that every random generator here takes."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 0 to 2^32 - 1")
    return int(text)


def choices(args: argparse.Namespace, **given: Any) -> Choices:
    """What the user chose; `given` takes precedence.

    Raises:
        InputError: a value out of range.
    """
    named = {key: value for key, value in vars(args).items() if key in Choices.model_fields}
    try:
        return Choices(**named | given)
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{'.'.join(map(str, first['loc']))}".replace("_", "-")
        raise InputError(f"{option} {first['input']}: {first['msg']}") from error


def default_workers() -> int:
    """Loader processes per device: none on small machines, where they would only take turns."""
    cores = len(os.sched_getaffinity(0))
    return 0 if cores <= 2 else min(8, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
