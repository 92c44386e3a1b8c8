"""`python -m results tables --protocol demo`: tables of records, and the records themselves."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from results import compare, published, record, store
from results.ablations import file_name
from results.declarations import Declaration
from results.formats import FORMATS, SUFFIXES
from results.index import Index
from results.papers import TABLES
from results.record import RecordError
from results.tables import build, ranked


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run it.

    Returns:
        The exit status: 0, or 1 with the reason on standard error where there is nothing to show,
        or a hash is wrong.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["runs"] and words[1:2] not in (["-h"], ["--help"]):
        actions = ("list", "show", "diff", "export", "verify")
        words[1:1] = [] if words[1:2] and words[1] in actions else ["list"]
    arguments = _parser().parse_args(words)
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
        return _fail(f"{error.filename}: {error.strerror}")
    finally:
        if collecting:
            gc.enable()


def tables(args: argparse.Namespace) -> int:
    """Print every table that has a record, and write it below `runs/<protocol>/tables/`.

    Raises:
        RecordError: there is no record.
        OSError: a table cannot be written.
    """
    index, skipped = _records(args)
    figures = published.load()
    empty, texts = [], []
    for declaration in TABLES:
        table = build(declaration, index, figures, skipped)
        if table.empty:
            empty.append(declaration.name)
            continue
        stem = args.runs / args.protocol / "tables" / declaration.file
        texts.append(FORMATS["markdown"](table))
        for name in dict.fromkeys(["markdown", "csv", *args.format]):
            content = FORMATS[name](table).encode()
            record.write_atomically(stem.with_suffix(SUFFIXES[name]), content)
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
    """Print any backbones by any tasks, the best first.

    Raises:
        RecordError: nothing matches.
    """
    index, skipped = _records(args)
    backbones = [it if "*" in it else file_name(it) for it in args.backbones]
    declaration = compare.declare(index, backbones, args.tasks, args.metric)
    keys = [column.key for column in declaration.columns]
    if args.sort is not None and args.sort not in keys:
        raise RecordError(f"--sort {args.sort!r}: the columns are {', '.join(keys)}")
    table = build(declaration, index, {}, skipped)
    table = ranked(table, 0 if args.sort is None else keys.index(args.sort))
    return _show(FORMATS[args.format](table), args.out)


def list_runs(args: argparse.Namespace) -> int:
    found, complaints = store.attempts(args.runs, args.protocol)
    chosen = store.select(found, args.conditions, args.all)
    print(_columns(store.listing(args.runs, chosen)))
    return _complain(complaints)


def show_run(args: argparse.Namespace) -> int:
    found, _ = store.attempts(args.runs, None)
    path = store.locate(args.runs, args.run, found)
    print(_columns([["file", str(path)], *map(list, _texts(store.fields(found[path])))]))
    return 0


def diff_runs(args: argparse.Namespace) -> int:
    found, _ = store.attempts(args.runs, None)
    one, other = (store.locate(args.runs, name, found) for name in (args.one, args.other))
    lines = store.difference(found[one], found[other])
    print(_columns([["differ in", "field", str(args.one), str(args.other)], *lines]))
    return 0


def export_runs(args: argparse.Namespace) -> int:
    found, complaints = store.attempts(args.runs, args.protocol)
    chosen = store.select(found, args.conditions)
    if not chosen:
        raise RecordError(f"no record to export among {len(found)}")
    for path in store.export(args.runs, chosen, args.out):
        print(path)
    return _complain(complaints)


def verify_runs(args: argparse.Namespace) -> int:
    found, wrong = store.attempts(args.runs, None)
    chosen = store.select(found, args.conditions, every=True)
    more, absent = store.verify(args.runs, chosen, found)
    wrong += more
    for line in wrong:
        print(f"wrong: {line}")
    for line in absent:
        print(f"not verified: {line}")
    print(f"{len(chosen)} records: {len(wrong)} wrong, {len(absent)} not verified")
    return 1 if wrong else 0


def _records(args: argparse.Namespace) -> tuple[Index, list[str]]:
    try:
        records, skipped = store.for_tables(args.runs, args.protocol, args.take)
    except RecordError as error:
        first, *rest = str(error).split("\n")
        hint = f"`make pretrain VARIANT=b-standard PROTOCOL={args.protocol}` makes one"
        raise RecordError("\n".join([f"{first}; {hint}", *rest])) from error
    return Index(records), skipped


def _declared(name: str) -> Declaration:
    for declaration in TABLES:
        if name in (declaration.name, declaration.file):
            return declaration
    raise RecordError(f"no table {name!r}; there are {', '.join(it.name for it in TABLES)}")


def _show(text: str, out: Path | None) -> int:
    if out is None:
        print(text, end="")
    else:
        record.write_atomically(out, text.encode())
    return 0


def _texts(fields: dict[str, object]) -> list[tuple[str, str]]:
    return [(key, str(value)) for key, value in fields.items()]


def _columns(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _complain(complaints: list[str]) -> int:
    for complaint in complaints:
        print(f"skipped: {complaint}", file=sys.stderr)
    return 0


def _fail(*lines: str) -> int:
    print(*lines, sep="\n", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trickbench", description="Tables, and their records.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    runs = argparse.ArgumentParser(add_help=False)
    runs.add_argument("--runs", type=Path, default=Path("runs"), help="default: %(default)s")

    def of_protocol(name: str, about: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=about, description=about, parents=[runs])
        command.add_argument("--protocol", required=True, help="paper, mini, demo or your own")
        command.add_argument(
            "--take",
            type=Path,
            nargs="+",
            default=[],
            metavar="RUN",
            help="attempts to show in place of the newest: mini/detect/best/seed0.1",
        )
        return command

    def formatted(command: argparse.ArgumentParser) -> None:
        command.add_argument("--format", choices=FORMATS, default="markdown")
        command.add_argument("--out", type=Path, metavar="FILE", help="in place of printing it")

    command = of_protocol("tables", "print every table that has records, and write it beside them")
    command.add_argument(
        "--format", choices=FORMATS, nargs="+", default=[], help="beside md and csv"
    )
    command.set_defaults(do=tables)

    command = of_protocol("table", "print one table")
    command.add_argument("name", help="bag-of-tricks/8, strikes-back/3, probes ...")
    command.add_argument(
        "--rows", nargs="+", default=[], metavar="LABEL", help="backbones of your own, as rows"
    )
    formatted(command)
    command.set_defaults(do=one_table)

    command = of_protocol("compare", "any backbones by any tasks, the best first")
    command.add_argument("--backbones", nargs="+", default=[], metavar="LABEL", help="or patterns")
    command.add_argument("--tasks", nargs="+", default=[], metavar="TASK", help="or patterns")
    command.add_argument(
        "--metric",
        nargs="+",
        default=[],
        help="metrics or costs (device_hours, params_m ...); default: each task's headline",
    )
    command.add_argument("--sort", metavar="COLUMN", help="'detect map'; default: the first")
    formatted(command)
    command.set_defaults(do=comparison)

    command = commands.add_parser("runs", help="list, show, compare, export and verify records")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    conditions = argparse.ArgumentParser(add_help=False)
    conditions.add_argument(
        "conditions",
        nargs="*",
        metavar="FIELD=PATTERN",
        help="only these: task='detect*' config.lr=0.1",
    )
    protocol = argparse.ArgumentParser(add_help=False)
    protocol.add_argument("--protocol", help="default: all")

    about = "a line for each run"
    action = actions.add_parser("list", help=about, parents=[conditions, protocol, runs])
    action.add_argument("--all", action="store_true", help="every attempt, not only the newest")
    action.set_defaults(do=list_runs)

    action = actions.add_parser("show", help="everything that a record says", parents=[runs])
    action.add_argument("run", type=Path, help="mini/detect/best/seed0")
    action.set_defaults(do=show_run)

    action = actions.add_parser("diff", help="what two runs differ in", parents=[runs])
    action.add_argument("one", type=Path, metavar="RUN")
    action.add_argument("other", type=Path, metavar="RUN")
    action.set_defaults(do=diff_runs)

    about = "copy records, and those of their backbones, for publishing"
    action = actions.add_parser("export", help=about, parents=[conditions, protocol, runs])
    action.add_argument("--out", type=Path, default=Path("results/records"))
    action.set_defaults(do=export_runs)

    about = "compute every hash that the records state again"
    action = actions.add_parser("verify", help=about, parents=[conditions, runs])
    action.set_defaults(do=verify_runs)
    return parser


if __name__ == "__main__":
    sys.exit(main())
