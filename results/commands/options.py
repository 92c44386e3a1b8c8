"""Options and steps that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from core import files
from core.record import RecordError
from results.store import query
from results.tables.index import Index
from results.tables.render import FORMATS


def runs() -> argparse.ArgumentParser:
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        "--runs", type=Path, default=Path("runs"), help="folder of all runs (default: %(default)s)"
    )
    return parent


def records() -> argparse.ArgumentParser:
    """The options of every command that reads one protocol's records."""
    parent = argparse.ArgumentParser(add_help=False, parents=[runs()])
    parent.add_argument("--protocol", required=True, help="paper, mini, demo or your own")
    parent.add_argument(
        "--take",
        type=Path,
        nargs="+",
        default=[],
        metavar="RUN",
        help="use these attempts, not the newest: mini/detect/best/seed0.1",
    )
    return parent


def add_format(command: argparse.ArgumentParser) -> None:
    command.add_argument("--format", choices=FORMATS, default="markdown")
    command.add_argument("--out", type=Path, metavar="FILE", help="write to a file")


def add_resamples(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--resamples",
        type=_positive,
        metavar="N",
        help="bootstrap resamples of the test images, for intervals and p-values (default: 10000)",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def load(args: argparse.Namespace) -> tuple[Index, dict[str, Path], list[str]]:
    """The records of `--protocol`, the run directory of each by `run_name`, and messages.

    Raises:
        RecordError: there is no record.
    """
    try:
        found, skipped = query.by_file(args.runs, args.protocol, args.take)
    except RecordError as error:
        first, *rest = str(error).split("\n")
        hint = f"to make one, run `make pretrain VARIANT=b-standard PROTOCOL={args.protocol}`"
        raise RecordError("\n".join([f"{first}; {hint}", *rest])) from error
    return Index(list(found.values())), query.folders(found), skipped


def show(text: str, out: Path | None) -> int:
    """Prints a text, or writes it to a file."""
    if out is None:
        print(text, end="")
    else:
        files.write_atomically(out, text.encode())
    return 0
