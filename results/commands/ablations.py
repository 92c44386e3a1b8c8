"""`trickbench recipes ablations`: the command of each run of the papers' ablations."""

from __future__ import annotations

import argparse

from core.text import aligned
from results.papers import ablations, published


def main(argv: list[str] | None = None) -> int:
    argparse.ArgumentParser(
        prog="trickbench recipes ablations",
        description="Prints the runs of Strikes Back's ablations, each as a command.",
    ).parse_args(argv)
    print(commands_of_ablations())
    return 0


def commands_of_ablations() -> str:
    """Strikes Back's table 6 and its rows on drop path and smoothing: the command of each run.

    Settings and figures are the published tables' own. Where a run's settings are those of a
    recipe, it is that recipe.
    """
    figures = published.load()
    lines = [["table", "published top-1", "command"]]
    for run in ablations.runs():
        table = figures[run.table]
        figure = table.rows[run.row][table.columns.index(run.column)]
        chosen = f' OPTIONS="{" ".join(run.options)}"' if run.options else ""
        command = f"make pretrain VARIANT={run.recipe}{chosen} PROTOCOL=paper GPUS=4"
        lines.append([run.table, str(figure), command])
    return aligned(lines, headed=True)
