"""How well the scores of frozen features foretell the accuracy that is measured.

On each data set, over backbones: rank correlations of a score, which costs one pass over the
training images, with the top-1 after full fine-tuning.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.record import RecordError
from results.analysis.transfer import SOURCE, Points, cells_of, head_of, how_computed, lines
from results.analysis.transfer import points as points_of
from results.stats.intervals import RESAMPLES
from results.tables.custom import column_of
from results.tables.fill import Table, build
from results.tables.grid import Grid, span
from results.tables.index import Index
from results.tables.render import not_comparable
from results.tables.spec import Column, Declaration, Row, Where

# What foretells: the stage and metric of each; the dear ones come last.
SCORES = (
    *(("transferability", "logme"), ("transferability", "h_score"), ("transferability", "knn")),
    *(("knn", "top1"), ("linear", "top1")),
)
MEASURED = "finetune"


def table_of(index: Index) -> Table:
    """Backbones that were fine-tuned, by scores and the measured accuracy; means over seeds.

    Raises:
        RecordError: no backbone was fine-tuned on a set that it has a score of.
    """
    columns: list[Column] = []
    tuned = index.select(Where(stage=MEASURED))
    for task in sorted({run.task for run in tuned}):
        suffix = task.removeprefix(MEASURED)
        found = [
            column_of(stage + suffix, metric, "score" if metric in ("logme", "h_score") else "%")
            for stage, metric in SCORES
            if any(metric in run.metrics for run in index.select(Where(task=stage + suffix)))
        ]
        if found:
            columns += [column_of(task, "top1", "%"), *found]
    if not columns:
        raise RecordError(
            "no backbone was fine-tuned on a set that it has a score of: make probe MODE=finetune "
            "and MODE=transferability, on the same DATASET="
        )
    labels = sorted({run.recipe for run in tuned})
    return build(
        Declaration(
            name="foretelling",
            file="foretelling",
            title="Scores of features and measured accuracy",
            row_heading="backbone",
            rows=tuple(Row(label, Where(recipes=(label,))) for label in labels),
            columns=(SOURCE, *columns),
        ),
        index,
        {},
    )


def points(table: Table) -> dict[str, Points]:
    """The score and the measured accuracy of each backbone that has both, by what foretells what.

    Source top-1 is a score too, of the backbones that were pretrained here.
    """
    found: dict[str, Points] = {}
    target = 0
    for j, column in enumerate(table.columns):
        if column.where.task and column.where.task.startswith(f"{MEASURED}-"):
            target = j
            found[f"{column.where.task}: {SOURCE.heading}"] = points_of(table, j)
        elif j:
            name = f"{table.columns[target].where.task}: {column.heading}"
            found[name] = points_of(table, target, score=j)
    return found


def grid(index: Index, skipped: Sequence[str] = (), count: int = RESAMPLES) -> Grid:
    """The coefficients of every score with what was measured."""
    table = table_of(index)
    found = lines(points(table), count)
    seeds = [len(cell.runs) for line in table.cells for cell in line if cell.runs]
    return Grid(
        title=f"How well do scores foretell fine-tuning? (protocol {table.protocol})",
        preamble="Rank correlations, over backbones, of each score with the top-1 after "
        "fine-tuning on the same data set.",
        warning=not_comparable(table.protocol),
        head=["measured: score", *head_of(table.protocol)],
        lines=[[name, *cells_of(line)] for name, line in found.items()],
        bold=frozenset(),
        notes=(
            f"backbones: {', '.join(row.heading for row in table.rows)}; each figure is a mean "
            f"over seeds ({span(seeds)})",
            how_computed(count, "lines"),
            *table.notes,
            *(f"skipped: {it}" for it in skipped),
        ),
    )
