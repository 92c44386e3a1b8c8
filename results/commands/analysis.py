"""`trickbench tricks` and `trickbench transfer`."""

from __future__ import annotations

import argparse

from results.commands import options
from results.papers import published
from results.tables.grid import GRID_FORMATS


def add(commands: argparse._SubParsersAction, parent: argparse.ArgumentParser) -> None:
    about = "what each trick of Bag of Tricks added: each recipe minus the one before it"
    command = commands.add_parser("tricks", help=about, description=about, parents=[parent])
    options.add_resamples(command)
    options.add_format(command)
    command.set_defaults(do=tricks)

    about = "correlate source accuracy with downstream accuracy, ours beside published"
    command = commands.add_parser("transfer", help=about, description=about, parents=[parent])
    command.add_argument(
        "--scores",
        action="store_true",
        help="correlate transferability scores (LogME, H-score ...) with fine-tuning accuracy",
    )
    options.add_format(command)
    command.set_defaults(do=transfer)


def tricks(args: argparse.Namespace) -> int:
    """Prints the difference between each recipe and the one before it, ours beside published.

    Raises:
        RecordError: there are no two such recipes, or too few resamples.
    """
    from results.analysis import tricks
    from results.stats.intervals import RESAMPLES

    index, folders, skipped = options.load(args)
    count = args.resamples or RESAMPLES
    shown = tricks.grid(index, folders, published.load(), skipped, count)
    return options.show(GRID_FORMATS[args.format](shown), args.out)


def transfer(args: argparse.Namespace) -> int:
    """Prints rank correlations: of source top-1, or of scores, with downstream accuracy.

    Raises:
        RecordError: there is nothing to correlate.
    """
    from results.analysis import transfer, transferability

    index, _, skipped = options.load(args)
    if args.scores:
        shown = transferability.grid(index, skipped)
    else:
        shown = transfer.grid(index, published.load(), skipped)
    return options.show(GRID_FORMATS[args.format](shown), args.out)
