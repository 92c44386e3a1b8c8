"""`trickbench tables` and `trickbench table`."""

from __future__ import annotations

import argparse
from pathlib import Path

from core import files
from core.record import RecordError
from results.commands import options
from results.papers import published
from results.papers.tables import TABLES
from results.tables.fill import build
from results.tables.render import FORMATS, SUFFIXES


def add(commands: argparse._SubParsersAction, parent: argparse.ArgumentParser) -> None:
    about = "print and write every table that has records, as Markdown and CSV"
    command = commands.add_parser("tables", help=about, description=about, parents=[parent])
    command.add_argument(
        "--format", choices=FORMATS, nargs="+", default=[], help="write these formats too"
    )
    command.add_argument("--out", type=Path, metavar="DIR", help="default: runs/<protocol>/tables")
    command.set_defaults(do=tables)

    about = "print one table"
    command = commands.add_parser("table", help=about, description=about, parents=[parent])
    command.add_argument("name", help="bag-of-tricks/8, strikes-back/3, probes ...")
    command.add_argument(
        "--rows", nargs="+", default=[], metavar="LABEL", help="add your own backbones as rows"
    )
    options.add_format(command)
    command.set_defaults(do=table)


def tables(args: argparse.Namespace) -> int:
    """Prints and writes every table that has a record.

    Raises:
        RecordError: there is no record.
        OSError: a table cannot be written.
    """
    index, _, skipped = options.load(args)
    figures = published.load()
    folder = args.out or args.runs / args.protocol / "tables"
    empty, texts = [], []
    for spec in TABLES:
        built = build(spec, index, figures, skipped)
        if built.empty:
            empty.append(spec.name)
            continue
        texts.append(FORMATS["markdown"](built))
        for name in dict.fromkeys(["markdown", "csv", *args.format]):
            path = (folder / spec.file).with_suffix(SUFFIXES[name])
            files.write_atomically(path, FORMATS[name](built).encode())
    print(*texts, sep="\n")
    if empty:
        print(f"No record yet for {', '.join(empty)}.")
    return 0


def table(args: argparse.Namespace) -> int:
    """Prints one table, or writes it to a file.

    Raises:
        RecordError: there is no such table, or no record.
    """
    specs = [it for it in TABLES if args.name in (it.name, it.file)]
    if not specs:
        known = ", ".join(it.name for it in TABLES)
        raise RecordError(f"no table {args.name!r}; the tables are {known}")
    index, _, skipped = options.load(args)
    built = build(specs[0], index, published.load(), skipped, args.rows)
    return options.show(FORMATS[args.format](built), args.out)
