"""`trickbench compare`."""

from __future__ import annotations

import argparse

from core.files import file_name
from core.record import RecordError
from results.commands import options
from results.tables import custom
from results.tables.fill import build, ranked
from results.tables.render import FORMATS


def add(commands: argparse._SubParsersAction, parent: argparse.ArgumentParser) -> None:
    about = "compare two backbones, or rank many across tasks"
    command = commands.add_parser("compare", help=about, description=about, parents=[parent])
    command.add_argument(
        "pair", nargs="*", metavar="LABEL", help="two backbones: prints one line for each task"
    )
    command.add_argument(
        "--backbones", nargs="+", default=[], metavar="LABEL", help="labels or patterns: 'random-*'"
    )
    command.add_argument(
        "--tasks",
        "--task",
        nargs="+",
        default=[],
        metavar="TASK",
        help="tasks or patterns: 'linear-*'",
    )
    command.add_argument(
        "--metric",
        nargs="+",
        default=[],
        help="metrics or costs: map, device_hours, params_m ... (default: the task's headline)",
    )
    command.add_argument(
        "--sort", metavar="COLUMN", help="'detect map' (default: the first column)"
    )
    options.add_resamples(command)
    options.add_format(command)
    # None: not given
    command.set_defaults(do=compare, format=None)


def compare(args: argparse.Namespace) -> int:
    """Compares two backbones in a line for each task, or ranks many in a table.

    Raises:
        RecordError: nothing matches, two runs were not evaluated on the same test data, an option
            does not fit, or there are too few resamples to find a significant difference.
    """
    # SciPy takes a fifth of a second to import, and `tables` does not need it.
    from results.analysis import pairwise
    from results.stats import paired
    from results.stats.intervals import RESAMPLES

    table_only = {"--backbones": args.backbones, "--sort": args.sort, "--format": args.format}
    if args.pair and (unused := [name for name, value in table_only.items() if value]):
        raise RecordError(
            f"{', '.join(unused)}: only for tables; to compare {' and '.join(args.pair)}, "
            f"leave it out"
        )
    resamples = args.resamples or RESAMPLES
    index, folders, skipped = options.load(args)
    backbones = [it if "*" in it else file_name(it) for it in args.pair or args.backbones]
    spec = custom.declare(index, backbones, args.tasks, args.metric)
    table = build(spec, index, {}, skipped)
    if args.pair:
        lines = pairwise.compare_two(table, folders, resamples)
        text = "\n".join([*lines, *(f"skipped: {it}" for it in skipped), ""])
        return options.show(text, args.out)
    keys = [column.key for column in spec.columns]
    if args.sort is not None and args.sort not in keys:
        raise RecordError(f"--sort {args.sort!r}: the columns are {', '.join(keys)}")
    table = ranked(table, 0 if args.sort is None else keys.index(args.sort))
    text = FORMATS[args.format or "markdown"](paired.mark_ties(table, folders, resamples))
    return options.show(text, args.out)
