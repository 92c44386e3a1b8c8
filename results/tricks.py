"""What each trick added: every recipe against the one that it builds on, in every task.

The question of Bag of Tricks' tables 8 and 9, with intervals; the published differences beside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from results import paired
from results.compare import declare
from results.declarations import Declaration, Where
from results.formats import not_comparable
from results.grid import DASH, Grid
from results.index import Index
from results.paired import SURE, Comparison
from results.papers import BAG_OF_TRICKS
from results.published import Published
from results.record import RecordError
from results.statistics import CONFIDENCE, RESAMPLES
from results.tables import RANDOM, Table, build
from results.transfer import DOWNSTREAM


@dataclass(frozen=True)
class Step:
    """A recipe, the one that it is compared with, and what it has that the other has not."""

    adds: str
    recipe: str
    base: str


STEPS = (
    Step("pretraining", "d-efficient", RANDOM),
    Step("model D and efficient training", "d-efficient", "b-standard"),
    Step("cosine decay", "cosine", "d-efficient"),
    Step("label smoothing", "smooth", "cosine"),
    Step("distillation", "distill", "smooth"),
    Step("mixup, 200 epochs", "mixup", "smooth"),
    Step("mixup, 120 epochs", "mixup-120", "smooth"),
    Step("distillation with mixup, 200 epochs", "best", "mixup"),
    Step("distillation with mixup, 120 epochs", "best-120", "mixup-120"),
)
# The published table and metric beside a task's.
PUBLISHED = {
    "pretrain top1": ("bag-of-tricks/8", "top1"),
    "detect map": ("bag-of-tricks/8", "map"),
    "segment miou": ("bag-of-tricks/9", "miou"),
}


def grid(
    index: Index,
    folders: Mapping[str, Path],
    published: Published,
    skipped: Sequence[str] = (),
    count: int = RESAMPLES,
) -> Grid:
    """A line for each step of which both recipes were measured in some task.

    Args:
        folders: of the runs, by `run_name`.
        count: of resamples of the test images.

    Raises:
        RecordError: there is no such step, what a run kept is not its record's, or so few resamples
            can tell nothing.
    """
    labels = {it.recipe for it in index.kinds}
    steps = [(step, base) for step in STEPS if (base := _base(step, index)) in labels]
    steps = [(step, base) for step, base in steps if step.recipe in labels]
    if not steps:
        raise RecordError(
            "no recipe of Bag of Tricks has been measured together with the one that it builds on"
        )
    measured = sorted({label for step, base in steps for label in (step.recipe, base)})
    table = build(declare(index, measured, _tasks(index, measured), []), index, {}, skipped)
    found, refused = _comparisons(table, steps, folders, count)
    if (reason := paired.too_few(list(found.values()), count)) is not None:
        raise RecordError(reason)
    sure = dict(zip(found, paired.corrected(list(found.values())), strict=True))
    columns = [j for j, _ in enumerate(table.columns) if any(place[1] == j for place in found)]
    side = "ours" if table.protocol == "paper" else table.protocol
    head, lines, bold = ["adds", "recipe", "compared with"], [], set()
    for j in columns:
        key = table.columns[j].key
        head += [f"{key} ({side})", *([f"{key} published"] if key in PUBLISHED else [])]
    for i, (step, base) in enumerate(steps):
        line = [step.adds, step.recipe, base]
        for j in columns:
            it = sure.get((i, j))
            if it is not None and it.corrected is not None and it.corrected <= SURE:
                bold.add((i, len(line)))
            line.append(DASH if it is None else _signed(it, step.recipe))
            if (key := table.columns[j].key) in PUBLISHED:
                line.append(_published(step, published, *PUBLISHED[key]))
        lines.append(line)
    return Grid(
        title=f"What each trick added (protocol {table.protocol})",
        preamble="Differences in points, with and without it.",
        warning=not_comparable(table.protocol),
        head=head,
        lines=lines,
        bold=frozenset(bold),
        notes=(*_notes(list(sure.values())), *refused, *table.notes),
    )


def _tasks(index: Index, labels: Sequence[str]) -> list[str]:
    """What these were measured in: the source task first, then as `transfer` orders them."""
    order = ("pretrain", *DOWNSTREAM)
    found = {(order.index(it.stage), it.task) for it in index.kinds if it.stage in order}
    return [
        task for _, task in sorted(found) if index.select(Where(task=task, recipes=tuple(labels)))
    ]


def _base(step: Step, index: Index) -> str:
    """The label of what a step starts from: random weights are those of the same architecture."""
    if step.base != RANDOM:
        return step.base
    architectures = {it.backbone.architecture for it in index.kinds if it.recipe == step.recipe}
    for it in index.kinds:
        if fnmatchcase(it.recipe, RANDOM) and it.backbone.architecture in architectures:
            return it.recipe
    return step.base


def _comparisons(
    table: Table, steps: Sequence[tuple[Step, str]], folders: Mapping[str, Path], count: int
) -> tuple[dict[tuple[int, int], Comparison], list[str]]:
    """By step and column, where both were measured; and why columns were not compared."""
    rows = {row.heading: line for row, line in zip(table.rows, table.cells, strict=True)}
    found: dict[tuple[int, int], Comparison] = {}
    refused = []
    for j, column in enumerate(table.columns):
        # the table's notes have the complaints
        cells = {
            label: line[j]
            for label, line in rows.items()
            if line[j].runs and line[j].complaint is None
        }
        pairs = [
            (i, step.recipe, base)
            for i, (step, base) in enumerate(steps)
            if step.recipe in cells and base in cells
        ]
        if not pairs:
            continue
        try:
            loaded = paired.sides(cells, str(column.metric), folders, count)
        except RecordError as error:
            refused.append(f"{column.heading}: nothing compared: {error}")
            continue
        sides = {side.label: side for side in loaded}
        for i, recipe, base in pairs:
            found[i, j] = paired.compare(sides[recipe], sides[base])
    return found, refused


def _signed(found: Comparison, recipe: str) -> str:
    """The recipe minus what it builds on, the interval, and how many seeds the lesser side has."""
    sign = 1 if found.ahead.label == recipe else -1
    text = f"{sign * found.gain:+.2f}"
    if (it := found.difference) is not None:
        low, high = sorted((sign * it.low, sign * it.high))
        text += f" [{low:+.2f}, {high:+.2f}]"
    return f"{text} ({min(len(found.ahead.runs), len(found.behind.runs))})"


def _published(step: Step, published: Published, table: str, column: str) -> str:
    (declared,) = (it for it in BAG_OF_TRICKS if it.name == table)
    with_it, without = (
        _figure(declared, published, label, column) for label in (step.recipe, step.base)
    )
    return DASH if with_it is None or without is None else f"{with_it - without:+.2f}"


def _figure(declared: Declaration, published: Published, label: str, column: str) -> float | None:
    """The published figure of the row that speaks of a recipe."""
    for row in declared.rows:
        if getattr(row.where, "recipes", None) == (label,):
            figure = published[declared.name].figure(row.heading, column)
            return float(figure) if isinstance(figure, int | float) else None
    return None


def _notes(found: Sequence[Comparison]) -> list[str]:
    bases = " or ".join(sorted({it.basis for it in found if it.basis}))
    told = sum(it.p is not None for it in found)
    notes = [
        "(n): seeds, of the side that has fewer; with one, what another seed changes is in neither "
        "interval nor p"
    ]
    if told:
        notes.insert(
            0,
            f"intervals: {CONFIDENCE:.0%}, {bases}; bold: p <= {SURE} by Holm over the {told} "
            f"comparisons in this table",
        )
    return notes
