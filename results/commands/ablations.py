"""`trickbench recipes ablations`: one command for each ablation run of ResNet strikes back."""

from __future__ import annotations

import argparse

from core.text import aligned
from results.papers import ablations, published


def main(argv: list[str] | None = None) -> int:
    argparse.ArgumentParser(
        prog="trickbench recipes ablations",
        description="Print one command for each ablation run of ResNet strikes back.",
    ).parse_args(argv)
    print(commands_of_ablations())
    return 0


def commands_of_ablations() -> str:
    """The runs of table 6 and of the table on drop path and smoothing, as `make` commands.

    Settings and values come from the published tables.
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
