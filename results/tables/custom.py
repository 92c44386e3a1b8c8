"""Any backbones by any tasks, as a declared table: what no paper's table asks."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from core.record import RecordError
from core.tasks import TASKS
from results.store.costs import QUANTITIES
from results.tables.index import Index
from results.tables.spec import Column, Declaration, Row, Where


def declare(
    index: Index, backbones: Sequence[str], tasks: Sequence[str], metrics: Sequence[str]
) -> Declaration:
    """The table of these backbones by these tasks.

    Args:
        backbones, tasks: patterns of `fnmatch` of labels ("best", "random-*") and of tasks
            ("detect", "linear-*"); all, if there are none.
        metrics: of each task, as many as it has; or of quantities.py. Without any, each task's
            headline.

    Raises:
        RecordError: a pattern that nothing matches, or metrics that no such record has.
    """
    rows = _matching([it.recipe for it in index.kinds], backbones, "backbone")
    columns = []
    for task in _matching([it.task for it in index.kinds], tasks, "task"):
        runs = index.select(Where(task=task, recipes=tuple(rows)))
        there = {name: it.unit for run in runs for name, it in run.metrics.items()}
        wanted = metrics or list(dict.fromkeys(TASKS[run.stage].headline for run in runs))
        columns += [
            column_of(task, name, there.get(name, "%"))
            for name in wanted
            if name in there or (name in QUANTITIES and runs)
        ]
    if not columns:
        known = sorted({name for it in index.records for name in it.metrics if "@" not in name})
        raise RecordError(
            f"no such record has {', '.join(metrics)}; there are {', '.join([*known, *QUANTITIES])}"
        )
    return Declaration(
        name="compare",
        file="compare",
        title="Backbones by tasks",
        row_heading="backbone",
        rows=tuple(Row(label, Where(recipes=(label,))) for label in rows),
        columns=tuple(columns),
    )


def column_of(task: str, metric: str, unit: str) -> Column:
    """A metric, or a quantity, of a task."""
    quantity = QUANTITIES.get(metric)
    words = [task, metric, *([f"({quantity.unit})"] if quantity and quantity.unit else [])]
    return Column(
        key=f"{task} {metric}",
        heading=" ".join(words),
        where=Where(task=task),
        metric=metric,
        published=False,
        unit=unit,
        decimals=quantity.decimals if quantity else None,
    )


def _matching(names: Sequence[str], patterns: Sequence[str], what: str) -> list[str]:
    """The names that match, in the order of the patterns, each once."""
    known = sorted(set(names))
    found: dict[str, None] = {}
    for pattern in patterns or ["*"]:
        matching = [name for name in known if fnmatchcase(name, pattern)]
        if not matching:
            raise RecordError(f"no record of {what} {pattern!r}; there are {', '.join(known)}")
        found |= dict.fromkeys(matching)
    return list(found)
