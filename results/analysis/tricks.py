"""What each trick added: each recipe of Bag of Tricks' tables 8 and 9 minus the one before it.

For every task, with intervals, beside the published differences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from core.record import RecordError
from core.tasks import COMPARED, TASKS
from results.papers.bag_of_tricks import BAG_OF_TRICKS
from results.stats import paired
from results.stats.intervals import CONFIDENCE, RESAMPLES
from results.stats.paired import ALPHA, Comparison, Side
from results.tables.custom import declare
from results.tables.fill import RANDOM, Cell, Table, build
from results.tables.grid import DASH, Grid
from results.tables.index import Index
from results.tables.paper_table import Published
from results.tables.render import not_comparable, side
from results.tables.spec import TableSpec

NO_PAIR = "no recipe of Bag of Tricks has a record of the same task as the one before it"


@dataclass(frozen=True)
class Step:
    """A recipe, its base, and what the recipe adds to the base."""

    adds: str
    recipe: str
    base: str


STEPS = (
    Step("pretraining", "d-efficient", RANDOM),
    Step("model D and efficient training", "d-efficient", "b-standard"),
    Step("cosine decay", "cosine", "d-efficient"),
    Step("label smoothing", "smooth", "cosine"),
    Step("distillation", "distill", "smooth"),
    Step("mixup and longer training", "mixup", "smooth"),
    Step("mixup, equal epochs", "mixup-120", "smooth"),
    Step("distillation, with mixup", "best", "mixup"),
    Step("distillation, with mixup, equal epochs", "best-120", "mixup-120"),
)
# The published table and column of each task's metric.
PUBLISHED = {
    f"{task.name} {name}": metric.published
    for task in TASKS.values()
    for name, metric in task.metrics.items()
    if metric.published
}


def grid(
    index: Index,
    folders: Mapping[str, Path],
    published: Published,
    skipped: Sequence[str] = (),
    count: int = RESAMPLES,
) -> Grid:
    """One line for each step whose recipes can be compared on some task.

    Args:
        folders: the run directories by `run_name`.
        count: the number of resamples of the test images.

    Raises:
        RecordError: there is no such step, or there are too few resamples.
    """
    bases = [_base(step, index) for step in STEPS]
    table = build(_declaration(index, bases), index, {}, skipped)
    found, refused = _comparisons(table, bases, folders, count)
    if not found:
        raise RecordError("\n".join([NO_PAIR, *refused]))
    if (reason := paired.too_few_resamples(list(found.values()), count)) is not None:
        raise RecordError(reason)
    found = dict(zip(found, paired.corrected(list(found.values())), strict=True))
    columns = sorted({j for _, j in found})
    head, bold = ["adds", "recipe", "compared with"], set()
    for j in columns:
        key = table.columns[j].key
        head += [f"{key} ({side(table.protocol)})"]
        head += [f"{key} published"] if key in PUBLISHED else []
    lines: list[list[str]] = []
    for i in sorted({i for i, _ in found}):
        line = [STEPS[i].adds, STEPS[i].recipe, bases[i]]
        for j in columns:
            it = found.get((i, j))
            if it is not None and it.corrected is not None and it.corrected <= ALPHA:
                bold.add((len(lines), len(line)))
            line.append(DASH if it is None else _signed(it, STEPS[i].recipe))
            if (key := table.columns[j].key) in PUBLISHED:
                line.append(_published(STEPS[i], published, *PUBLISHED[key]))
        lines.append(line)
    return Grid(
        title=f"What each trick added (protocol {table.protocol})",
        preamble='Each recipe minus the recipe in the column "compared with", in points.',
        warning=not_comparable(table.protocol),
        head=head,
        lines=lines,
        bold=frozenset(bold),
        notes=(*_notes(list(found.values())), *refused, *table.notes),
    )


def _declaration(index: Index, bases: Sequence[str]) -> TableSpec:
    """The recipes of all steps by the headline metric of each task; the source task comes first.

    Only tasks with a record of both recipes of some step.

    Raises:
        RecordError: there is no such task.
    """
    order = ("pretrain", *COMPARED)
    measured = {(it.task, it.recipe) for it in index.kinds}
    tasks: set[tuple[int, str]] = set()
    labels: set[str] = set()
    for it in index.kinds:
        for step, base in zip(STEPS, bases, strict=True):
            if it.stage in order and {(it.task, step.recipe), (it.task, base)} <= measured:
                tasks.add((order.index(it.stage), it.task))
                labels |= {step.recipe, base}
    if not tasks:
        raise RecordError(NO_PAIR)
    return declare(index, sorted(labels), [task for _, task in sorted(tasks)], [])


def _base(step: Step, index: Index) -> str:
    """The label of a step's base. Random weights must have the recipe's architecture."""
    if step.base != RANDOM:
        return step.base
    architectures = {it.backbone.architecture for it in index.kinds if it.recipe == step.recipe}
    for it in index.kinds:
        if fnmatchcase(it.backbone.source, RANDOM) and it.backbone.architecture in architectures:
            return it.recipe
    return step.base


def _comparisons(
    table: Table, bases: Sequence[str], folders: Mapping[str, Path], count: int
) -> tuple[dict[tuple[int, int], Comparison], list[str]]:
    """Comparisons by (step, column), and why others cannot be compared."""
    rows = {row.heading: line for row, line in zip(table.rows, table.cells, strict=True)}
    found: dict[tuple[int, int], Comparison] = {}
    refused = []
    for j, column in enumerate(table.columns):
        # the notes of the table explain cells whose runs were not averaged
        cells = {
            label: line[j]
            for label, line in rows.items()
            if line[j].runs and line[j].complaint is None
        }
        pairs = [
            (i, {label: cells[label] for label in (step.recipe, base)})
            for i, (step, base) in enumerate(zip(STEPS, bases, strict=True))
            if step.recipe in cells and base in cells
        ]
        if not pairs:
            continue
        metric = str(column.metric)
        cells_of_pairs = {label: cell for _, pair in pairs for label, cell in pair.items()}
        shared = _all_sides(cells_of_pairs, metric, folders, count)
        for i, pair in pairs:
            try:
                sides = [shared[it] for it in pair] if shared else None
                one, other = sides or paired.sides(pair, metric, folders, count)
            except RecordError as error:
                refused.append(f"{column.heading}, {STEPS[i].recipe}: not compared: {error}")
            else:
                found[i, j] = paired.compare(one, other)
    return found, refused


def _all_sides(
    cells: Mapping[str, Cell], metric: str, folders: Mapping[str, Path], count: int
) -> dict[str, Side]:
    """All sides of a column by label, so that each run is read and resampled once.

    Empty if one of them cannot be compared; then the caller compares pair by pair, so that this
    one does not hide the others.
    """
    try:
        return {side.label: side for side in paired.sides(cells, metric, folders, count)}
    except RecordError:
        return {}


def _signed(found: Comparison, recipe: str) -> str:
    """The recipe minus its base, with its interval and the smaller number of seeds."""
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


def _figure(declared: TableSpec, published: Published, label: str, column: str) -> float | None:
    """The published value of a recipe."""
    for row in declared.rows:
        if getattr(row.where, "recipes", None) == (label,):
            figure = published[declared.name].figure(row.heading, column)
            return float(figure) if isinstance(figure, int | float) else None
    return None


def _notes(found: Sequence[Comparison]) -> list[str]:
    tested = [it for it in found if it.p is not None]
    missing = dict.fromkeys(it.missing for it in found if it.p is None)
    notes = []
    if tested:
        bases = " or ".join(sorted({it.basis for it in tested}))
        notes.append(
            f"intervals: {CONFIDENCE:.0%}, {bases}; bold: p <= {ALPHA} by Holm over the "
            f"{len(tested)} comparisons in this table"
        )
    notes.append(
        "(n): number of seeds, the smaller of both sides; with one seed, interval and p-value do "
        "not include variation between seeds"
    )
    if missing:
        notes.append(f"without an interval, significance cannot be tested: {'; '.join(missing)}")
    return notes
