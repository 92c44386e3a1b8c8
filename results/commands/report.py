"""`trickbench figures` and `trickbench report`: what is drawn from records, and the page of all."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core import files
from results.papers.tables import TABLES
from results.store import query

if TYPE_CHECKING:
    from results.figures.drawing import Material


def add(commands: argparse._SubParsersAction, parent: argparse.ArgumentParser) -> None:
    """Adds both to the parser.

    Args:
        parent: has the options of a command that reads a protocol's records.
    """
    about = "draw every figure that has records, as SVG and PNG"
    command = commands.add_parser("figures", help=about, description=about, parents=[parent])
    _add_material(command)
    command.add_argument("--out", type=Path, metavar="DIR", help="default: runs/<protocol>/figures")
    command.set_defaults(do=figures_of)
    about = "one HTML file with the tables, the figures and the records"
    command = commands.add_parser("report", help=about, description=about, parents=[parent])
    _add_material(command)
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="default: runs/<protocol>/report.html"
    )
    command.set_defaults(do=report_of)


def _add_material(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data", type=Path, default=Path("data"), help="folder of all data sets, for the images"
    )


def _material(args: argparse.Namespace) -> tuple[Material, list[str]]:
    from results.figures.drawing import Material

    records, skipped = query.by_file(args.runs, args.protocol, args.take)
    data = args.data if args.data.is_dir() else None
    return Material(args.protocol, records, data), skipped


def figures_of(args: argparse.Namespace) -> int:
    """Draws, and says of each figure where it is, or why it is not.

    Raises:
        RecordError: there is no record.
        OSError: the folder cannot be written.
    """
    # Matplotlib takes a second to import, and the tables do without it.
    from results import figures

    material, skipped = _material(args)
    out = args.out or args.runs / args.protocol / "figures"
    for line in (*figures.write_all(material, out), *(f"skipped: {it}" for it in skipped)):
        print(line)
    return 0


def report_of(args: argparse.Namespace) -> int:
    """Writes the page.

    Raises:
        RecordError: there is no record.
        OSError: the file cannot be written.
    """
    from results import figures
    from results.report import page

    material, skipped = _material(args)
    drawn = figures.draw_all(material)
    text = page.page(material, TABLES, drawn, args.runs, skipped)
    out = args.out or args.runs / args.protocol / "report.html"
    files.write_atomically(out, text.encode())
    for it in drawn:
        if it.reason:
            print(f"{it.name}: not drawn: {it.reason}")
    print(f"{out}: {len(material.records)} records of protocol {args.protocol}")
    return 0
