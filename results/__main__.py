"""`python -m results tables --protocol demo`: print and write every table of a protocol."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from results import published, record
from results.declarations import TABLES
from results.tables import build, to_csv, to_markdown


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run it.

    Returns:
        The exit status: 0, or 1 with one line on standard error where there is nothing to show.
    """
    arguments = _parser().parse_args(argv)
    try:
        return tables(arguments.runs, arguments.protocol)
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}")


def tables(runs: Path, protocol: str) -> int:
    """Print every table of a protocol, and write it below `runs/<protocol>/tables/`.

    Raises:
        OSError: a table cannot be written.
    """
    make_one = f"`make pretrain VARIANT=b-standard PROTOCOL={protocol}` makes one"
    present = _protocols(runs)
    if protocol not in present:
        there = f"protocols there: {', '.join(present) or 'none'}"
        return _fail(f"{runs} has no protocol {protocol!r}; {there}; {make_one}")
    found, skipped = record.read_all(runs, protocol)
    records = [run for run in found if run.config.get("limit") is None]
    if trials := len(found) - len(records):
        skipped.append(f"{trials} trials on part of the training data (LIMIT=)")
    if not records:
        return _fail(f"no readable record in {runs / protocol}; {make_one}", *skipped)
    figures = published.load()
    for declaration in TABLES:
        table = build(declaration, records, figures, skipped)
        stem = runs / protocol / "tables" / declaration.file
        markdown = to_markdown(table)
        print(markdown)
        record.write_atomically(stem.with_suffix(".md"), markdown.encode())
        record.write_atomically(stem.with_suffix(".csv"), to_csv(table).encode())
    return 0


def _protocols(runs: Path) -> list[str]:
    """The protocols that have a folder below `runs`."""
    if not runs.is_dir():
        return []
    return sorted(it.name for it in runs.iterdir() if it.is_dir() and not it.name.startswith("."))


def _fail(*lines: str) -> int:
    print(*lines, sep="\n", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m results", description="Tables from records.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("tables", help="print every table and write it beside the runs")
    command.add_argument("--protocol", required=True, help="paper, mini, demo or your own")
    command.add_argument("--runs", type=Path, default=Path("runs"), help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
