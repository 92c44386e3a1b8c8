"""Correlates transferability scores with fine-tuning accuracy.

On each dataset, over backbones: rank correlations of a score of frozen features, which costs one
pass over the training images, with top-1 after full fine-tuning.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.record import RecordError
from results.analysis.transfer import SOURCE, Points, cells_of, correlate, head_of, method_note
from results.analysis.transfer import points as points_of
from results.stats.intervals import RESAMPLES
from results.tables.custom import column_of
from results.tables.fill import Table, build
from results.tables.grid import Grid, span
from results.tables.index import Index
from results.tables.render import not_comparable
from results.tables.spec import Column, RecordFilter, Row, TableSpec, recipes

# The stage and metric of each score; the expensive ones come last.
SCORES = (
    *(("transferability", "logme"), ("transferability", "h_score"), ("transferability", "knn")),
    *(("knn", "top1"), ("linear", "top1")),
)
TARGET = "finetune"


def table_of(index: Index) -> Table:
    """Fine-tuned backbones by fine-tuning accuracy and scores; means over seeds.

    Raises:
        RecordError: no dataset has both fine-tuning runs and scores.
    """
    columns: list[Column] = []
    tuned = index.select(RecordFilter(stage=TARGET))
    for task in sorted({run.task for run in tuned}):
        suffix = task.removeprefix(TARGET)
        found = [
            column_of(stage + suffix, metric, "score" if metric in ("logme", "h_score") else "%")
            for stage, metric in SCORES
            if any(metric in run.metrics for run in index.select(RecordFilter(task=stage + suffix)))
        ]
        if found:
            columns += [column_of(task, "top1", "%"), *found]
    if not columns:
        raise RecordError(
            "no dataset has both fine-tuning runs and scores: run `make probe` with MODE=finetune "
            "and with MODE=transferability, on the same DATASET="
        )
    labels = sorted({run.recipe for run in tuned})
    return build(
        TableSpec(
            name="transferability",
            file="transferability",
            title="Transferability scores and fine-tuning accuracy",
            row_heading="backbone",
            rows=tuple(Row(label, recipes(label)) for label in labels),
            columns=(SOURCE, *columns),
        ),
        index,
        {},
    )


def points(table: Table) -> dict[str, Points]:
    """(score, accuracy) of each backbone that has both, by the names of dataset and score.

    Source top-1 counts as a score of the backbones that were pretrained here.
    """
    found: dict[str, Points] = {}
    target = 0
    for j, column in enumerate(table.columns):
        if column.where.task and column.where.task.startswith(f"{TARGET}-"):
            target = j
            found[f"{column.where.task}: {SOURCE.heading}"] = points_of(table, j)
        elif j:
            name = f"{table.columns[target].where.task}: {column.heading}"
            found[name] = points_of(table, target, score=j)
    return found


def grid(index: Index, skipped: Sequence[str] = (), count: int = RESAMPLES) -> Grid:
    """The correlations of every score with fine-tuning accuracy."""
    table = table_of(index)
    found = correlate(points(table), count)
    seeds = [len(cell.runs) for line in table.cells for cell in line if cell.runs]
    return Grid(
        title=f"Transferability scores against fine-tuning (protocol {table.protocol})",
        preamble="Rank correlations over backbones of each score with top-1 after "
        "fine-tuning on the same dataset.",
        warning=not_comparable(table.protocol),
        head=["fine-tuning: score", *head_of(table.protocol)],
        lines=[[name, *cells_of(line)] for name, line in found.items()],
        bold=frozenset(),
        notes=(
            f"backbones: {', '.join(row.heading for row in table.rows)}; each value is a mean "
            f"over seeds ({span(seeds)})",
            method_note(count, "lines"),
            *table.notes,
            *(f"skipped: {it}" for it in skipped),
        ),
    )
