"""What the entry points of pretraining and of the downstream tasks have in common."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from core.runtime import tracking


def arguments(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser with the options that every stage takes."""
    parser = argparse.ArgumentParser(prog=prog, description=description, allow_abbrev=False)
    parser.add_argument("--protocol", default="demo", help="demo, mini or paper (default: demo)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of all data sets")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs")
    parser.add_argument("--dataset", help="in place of the protocol's own for this stage")
    parser.add_argument("--workers", type=int, default=default_workers(), help="loader processes")
    parser.add_argument("--limit", type=int, help="train on this many samples only, for a trial")
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
        help="send curves there too; they always go to TensorBoard",
    )
    return parser


def default_workers() -> int:
    """Loader processes per device: none on small machines, where they would only take turns."""
    cores = len(os.sched_getaffinity(0))
    return 0 if cores <= 2 else min(8, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def options(args: argparse.Namespace) -> list[str]:
    """The settings that the user changes, `--limit` among them."""
    return [*args.cfg_options, *([] if args.limit is None else [f"limit={args.limit}"])]
