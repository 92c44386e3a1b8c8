"""`trickbench runs`: list, show, compare, export and verify records."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from core.record import RecordError
from core.text import aligned
from results.store import query
from results.store.verify import verify

ACTIONS = ("list", "show", "diff", "export", "verify")


def default_action(words: list[str]) -> list[str]:
    """`runs` without an action means `runs list`."""
    if words[:1] != ["runs"] or words[1:2] in ([it] for it in (*ACTIONS, "-h", "--help")):
        return words
    return ["runs", "list", *words[1:]]


def add(commands: argparse._SubParsersAction, runs: argparse.ArgumentParser) -> None:
    command = commands.add_parser("runs", help="list, show, compare, export and verify records")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    conditions = argparse.ArgumentParser(add_help=False)
    conditions.add_argument(
        "conditions",
        nargs="*",
        metavar="FIELD=PATTERN",
        help="select records: task='detect*' config.lr=0.1",
    )
    protocol = argparse.ArgumentParser(add_help=False)
    protocol.add_argument("--protocol", help="default: all")

    about = "print one line for each run"
    action = actions.add_parser("list", help=about, parents=[conditions, protocol, runs])
    action.add_argument("--all", action="store_true", help="all attempts, not only the newest")
    action.set_defaults(do=list_runs)

    action = actions.add_parser("show", help="print all fields of a record", parents=[runs])
    action.add_argument("run", type=Path, help="mini/detect/best/seed0")
    action.set_defaults(do=show_run)

    action = actions.add_parser(
        "diff", help="print the differences between two runs", parents=[runs]
    )
    action.add_argument("one", type=Path, metavar="RUN")
    action.add_argument("other", type=Path, metavar="RUN")
    action.set_defaults(do=diff_runs)

    about = "copy records, and those of their backbones, to publish them"
    action = actions.add_parser("export", help=about, parents=[conditions, protocol, runs])
    action.add_argument("--out", type=Path, default=Path("results/records"))
    action.set_defaults(do=export_runs)

    about = "recompute and compare every hash"
    action = actions.add_parser("verify", help=about, parents=[conditions, runs])
    action.set_defaults(do=verify_runs)


def list_runs(args: argparse.Namespace) -> int:
    found, complaints = query.attempts(args.runs, args.protocol)
    chosen = query.select(found, args.conditions, args.all)
    print(aligned(query.listing(args.runs, chosen)))
    return _complain(complaints)


def show_run(args: argparse.Namespace) -> int:
    found, _ = query.attempts(args.runs, None)
    path = query.locate(args.runs, args.run, found)
    print(aligned([["file", str(path)], *map(list, _texts(query.fields(found[path])))]))
    return 0


def diff_runs(args: argparse.Namespace) -> int:
    found, _ = query.attempts(args.runs, None)
    one, other = (query.locate(args.runs, name, found) for name in (args.one, args.other))
    lines = query.difference(found[one], found[other])
    print(aligned([["kind", "field", str(args.one), str(args.other)], *lines]))
    return 0


def export_runs(args: argparse.Namespace) -> int:
    found, complaints = query.attempts(args.runs, args.protocol)
    chosen = query.select(found, args.conditions)
    if not chosen:
        raise RecordError(f"no record to export: none of {len(found)} matches the conditions")
    for path in query.export(args.runs, chosen, args.out):
        print(path)
    return _complain(complaints)


def verify_runs(args: argparse.Namespace) -> int:
    found, wrong = query.attempts(args.runs, None)
    chosen = query.select(found, args.conditions, every=True)
    more, absent = verify(args.runs, chosen, found)
    wrong += more
    for line in wrong:
        print(f"wrong: {line}")
    for line in absent:
        print(f"not verified: {line}")
    print(f"{len(chosen)} records: {len(wrong)} wrong, {len(absent)} not verified")
    return 1 if wrong else 0


def _texts(fields: dict[str, object]) -> list[tuple[str, str]]:
    return [(key, str(value)) for key, value in fields.items()]


def _complain(complaints: list[str]) -> int:
    for complaint in complaints:
        print(f"skipped: {complaint}", file=sys.stderr)
    return 0
