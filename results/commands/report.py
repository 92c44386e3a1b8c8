"""`trickbench figures` and `trickbench report`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core import files
from results.papers.tables import TABLES
from results.store import query

if TYPE_CHECKING:
    from results.figures.drawing import FigureInputs


def add(commands: argparse._SubParsersAction, parent: argparse.ArgumentParser) -> None:
    about = "draw every figure that has records, as SVG and PNG"
    command = commands.add_parser("figures", help=about, description=about, parents=[parent])
    _add_data(command)
    command.add_argument("--out", type=Path, metavar="DIR", help="default: runs/<protocol>/figures")
    command.set_defaults(do=figures)
    about = "one HTML file with the tables, the figures and the records"
    command = commands.add_parser("report", help=about, description=about, parents=[parent])
    _add_data(command)
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="default: runs/<protocol>/report.html"
    )
    command.set_defaults(do=report)


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data",
        type=Path,
        default=Path("data"),
        help="folder of all datasets, for the images (default: data)",
    )


def _inputs(args: argparse.Namespace) -> tuple[FigureInputs, list[str]]:
    from results.figures.drawing import FigureInputs

    records, skipped = query.by_file(args.runs, args.protocol, args.take)
    data = args.data if args.data.is_dir() else None
    return FigureInputs(args.protocol, records, data), skipped


def figures(args: argparse.Namespace) -> int:
    """Draws every figure; prints its path, or why it cannot be drawn.

    Raises:
        RecordError: there is no record.
        OSError: the folder cannot be written.
    """
    # Matplotlib takes a second to import, and the tables do not need it.
    from results.figures import write_all

    inputs, skipped = _inputs(args)
    out = args.out or args.runs / args.protocol / "figures"
    for line in (*write_all(inputs, out), *(f"skipped: {it}" for it in skipped)):
        print(line)
    return 0


def report(args: argparse.Namespace) -> int:
    """Writes one HTML page.

    Raises:
        RecordError: there is no record.
        OSError: the file cannot be written.
    """
    from results.figures import draw_all
    from results.report import page

    inputs, skipped = _inputs(args)
    drawn = draw_all(inputs)
    text = page.page(inputs, TABLES, drawn, args.runs, skipped)
    out = args.out or args.runs / args.protocol / "report.html"
    files.write_atomically(out, text.encode())
    for it in drawn:
        if it.reason:
            print(f"{it.name}: not drawn: {it.reason}")
    print(f"{out}: {len(inputs.records)} records of protocol {args.protocol}")
    return 0
