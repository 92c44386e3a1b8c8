"""`python -m results tables --protocol demo`: tables of records, and the records themselves."""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path

from core import files
from core.files import file_name
from core.record import RecordError
from results.commands import report
from results.commands import runs as runs_command
from results.papers import published
from results.papers.tables import TABLES
from results.store import query
from results.tables import custom
from results.tables.fill import build, ranked
from results.tables.grid import GRID_FORMATS
from results.tables.index import Index
from results.tables.render import FORMATS, SUFFIXES
from results.tables.spec import Declaration


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run it.

    Returns:
        The exit status: 0, or 1 with the reason on standard error where there is nothing to show,
        or a hash is wrong.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(runs_command.arguments(words))
    # Ten thousand records are millions of objects, of which none is dropped: looking through them
    # again and again takes longer than reading them.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return arguments.do(arguments)
    except RecordError as error:
        return _fail(str(error))
    except BrokenPipeError:
        return 0  # the reader, head for one, has seen enough
    except OSError as error:
        # PIL's errors of a damaged picture have neither
        return _fail(f"{error.filename}: {error.strerror}" if error.strerror else str(error))
    finally:
        if collecting:
            gc.enable()


def tables(args: argparse.Namespace) -> int:
    """Print every table that has a record, and write it; by default below `runs/<protocol>/tables`.

    Raises:
        RecordError: there is no record.
        OSError: a table cannot be written.
    """
    index, skipped = _records(args)
    figures = published.load()
    folder = args.out or args.runs / args.protocol / "tables"
    empty, texts = [], []
    for declaration in TABLES:
        table = build(declaration, index, figures, skipped)
        if table.empty:
            empty.append(declaration.name)
            continue
        stem = folder / declaration.file
        texts.append(FORMATS["markdown"](table))
        for name in dict.fromkeys(["markdown", "csv", *args.format]):
            content = FORMATS[name](table).encode()
            files.write_atomically(stem.with_suffix(SUFFIXES[name]), content)
    print(*texts, sep="\n")
    if empty:
        print(f"No record yet for {', '.join(empty)}.")
    return 0


def one_table(args: argparse.Namespace) -> int:
    """Print one table, or write it to a file.

    Raises:
        RecordError: no such table, or no record.
    """
    declaration = _declared(args.name)
    index, skipped = _records(args)
    table = build(declaration, index, published.load(), skipped, args.rows)
    return _show(FORMATS[args.format](table), args.out)


def comparison(args: argparse.Namespace) -> int:
    """Print a sentence on two backbones, or a table of any backbones by any tasks, the best first.

    Raises:
        RecordError: nothing matches, two runs are not of the same test, an option is for the other
            form, or so few resamples tell nothing about two backbones.
    """
    # SciPy takes a fifth of a second to import, and the papers' tables do without it.
    from results.analysis import pairwise
    from results.stats import paired
    from results.stats.intervals import RESAMPLES

    of_tables = {"--backbones": args.backbones, "--sort": args.sort, "--format": args.format}
    if args.pair and (unused := [name for name, value in of_tables.items() if value]):
        raise RecordError(
            f"{', '.join(unused)}: for a table, not for the sentences on {' and '.join(args.pair)}"
        )
    resamples = args.resamples or RESAMPLES
    index, folders, skipped = _folders(args)
    backbones = [it if "*" in it else file_name(it) for it in args.pair or args.backbones]
    declaration = custom.declare(index, backbones, args.tasks, args.metric)
    table = build(declaration, index, {}, skipped)
    if args.pair:
        lines = pairwise.of_two(table, folders, resamples)
        return _show("\n".join([*lines, *(f"skipped: {it}" for it in skipped), ""]), args.out)
    keys = [column.key for column in declaration.columns]
    if args.sort is not None and args.sort not in keys:
        raise RecordError(f"--sort {args.sort!r}: the columns are {', '.join(keys)}")
    table = ranked(table, 0 if args.sort is None else keys.index(args.sort))
    text = FORMATS[args.format or "markdown"](paired.mark(table, folders, resamples))
    return _show(text, args.out)


def correlations(args: argparse.Namespace) -> int:
    """Print how source top-1 ranks with every downstream metric, ours beside published.

    Or, with --scores, how scores of frozen features rank with fine-tuning.

    Raises:
        RecordError: there is nothing to correlate.
    """
    from results.analysis import transfer, transferability

    index, skipped = _records(args)
    if args.scores:
        shown = transferability.grid(index, skipped)
    else:
        shown = transfer.grid(index, published.load(), skipped)
    return _show(GRID_FORMATS[args.format](shown), args.out)


def what_tricks_added(args: argparse.Namespace) -> int:
    """Print each recipe's differences to the one before it, ours beside published.

    Raises:
        RecordError: there are none, or so few resamples tell nothing.
    """
    from results.analysis import tricks
    from results.stats.intervals import RESAMPLES

    index, folders, skipped = _folders(args)
    count = args.resamples or RESAMPLES
    shown = tricks.grid(index, folders, published.load(), skipped, count)
    return _show(GRID_FORMATS[args.format](shown), args.out)


def _records(args: argparse.Namespace) -> tuple[Index, list[str]]:
    index, _, skipped = _folders(args)
    return index, skipped


def _folders(args: argparse.Namespace) -> tuple[Index, dict[str, Path], list[str]]:
    """Records, the folder of each by `run_name`, and complaints."""
    try:
        records, skipped = query.by_file(args.runs, args.protocol, args.take)
    except RecordError as error:
        first, *rest = str(error).split("\n")
        hint = f"`make pretrain VARIANT=b-standard PROTOCOL={args.protocol}` makes one"
        raise RecordError("\n".join([f"{first}; {hint}", *rest])) from error
    return Index(list(records.values())), query.folders(records), skipped


def _declared(name: str) -> Declaration:
    for declaration in TABLES:
        if name in (declaration.name, declaration.file):
            return declaration
    raise RecordError(f"no table {name!r}; there are {', '.join(it.name for it in TABLES)}")


def _show(text: str, out: Path | None) -> int:
    if out is None:
        print(text, end="")
    else:
        files.write_atomically(out, text.encode())
    return 0


def _fail(*lines: str) -> int:
    print(*lines, sep="\n", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trickbench", description="Tables, and their records.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    runs = argparse.ArgumentParser(add_help=False)
    runs.add_argument("--runs", type=Path, default=Path("runs"), help="default: %(default)s")
    of_protocol = argparse.ArgumentParser(add_help=False, parents=[runs])
    of_protocol.add_argument("--protocol", required=True, help="paper, mini, demo or your own")
    of_protocol.add_argument(
        "--take",
        type=Path,
        nargs="+",
        default=[],
        metavar="RUN",
        help="attempts to show in place of the newest: mini/detect/best/seed0.1",
    )
    _add_tables(commands, of_protocol)
    _add_table(commands, of_protocol)
    _add_compare(commands, of_protocol)
    _add_transfer(commands, of_protocol)
    _add_tricks(commands, of_protocol)
    report.add(commands, of_protocol)
    runs_command.add(commands, runs)
    return parser


def _add(
    commands: argparse._SubParsersAction, parent: argparse.ArgumentParser, name: str, about: str
) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=about, description=about, parents=[parent])


def _add_tables(commands: argparse._SubParsersAction, parent: argparse.ArgumentParser) -> None:
    about = "print every table that has records, and write it beside them"
    command = _add(commands, parent, "tables", about)
    command.add_argument(
        "--format", choices=FORMATS, nargs="+", default=[], help="beside md and csv"
    )
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="folder; default: RUNS/PROTOCOL/tables"
    )
    command.set_defaults(do=tables)


def _add_table(commands: argparse._SubParsersAction, parent: argparse.ArgumentParser) -> None:
    command = _add(commands, parent, "table", "print one table")
    command.add_argument("name", help="bag-of-tricks/8, strikes-back/3, probes ...")
    command.add_argument(
        "--rows", nargs="+", default=[], metavar="LABEL", help="backbones of your own, as rows"
    )
    _add_format(command)
    command.set_defaults(do=one_table)


def _add_compare(commands: argparse._SubParsersAction, parent: argparse.ArgumentParser) -> None:
    about = "two backbones in a sentence a task, or any by any tasks, the best first"
    command = _add(commands, parent, "compare", about)
    command.add_argument("pair", nargs="*", metavar="LABEL", help="two backbones: who is ahead?")
    command.add_argument("--backbones", nargs="+", default=[], metavar="LABEL", help="or patterns")
    command.add_argument(
        "--tasks", "--task", nargs="+", default=[], metavar="TASK", help="or patterns"
    )
    command.add_argument(
        "--metric",
        nargs="+",
        default=[],
        help="metrics or costs (device_hours, params_m ...); default: each task's headline",
    )
    command.add_argument("--sort", metavar="COLUMN", help="'detect map'; default: the first")
    _add_resamples(command)
    _add_format(command)
    command.set_defaults(do=comparison, format=None)  # whether it was given


def _add_transfer(commands: argparse._SubParsersAction, parent: argparse.ArgumentParser) -> None:
    about = "does better pretraining transfer better? ours beside published"
    command = _add(commands, parent, "transfer", about)
    about = "in place of it: how well scores of frozen features foretell fine-tuning"
    command.add_argument("--scores", action="store_true", help=about)
    _add_format(command)
    command.set_defaults(do=correlations)


def _add_tricks(commands: argparse._SubParsersAction, parent: argparse.ArgumentParser) -> None:
    about = "what each trick added: Bag of Tricks' recipes, each against the one before it"
    command = _add(commands, parent, "tricks", about)
    _add_resamples(command)
    _add_format(command)
    command.set_defaults(do=what_tricks_added)


def _add_resamples(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--resamples",
        type=_positive,
        metavar="N",
        help="of the test images, for intervals and p-values (default: as in docs/statistics.md)",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _add_format(command: argparse.ArgumentParser) -> None:
    command.add_argument("--format", choices=FORMATS, default="markdown")
    command.add_argument("--out", type=Path, metavar="FILE", help="in place of printing it")


if __name__ == "__main__":
    sys.exit(main())
