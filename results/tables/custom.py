"""The table of `trickbench compare`: chosen backbones by chosen tasks."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from core.record import RecordError
from core.tasks import TASKS
from results.store.costs import COSTS
from results.tables.index import Index
from results.tables.spec import Column, RecordFilter, Row, TableSpec, recipes


def declare(
    index: Index, backbones: Sequence[str], tasks: Sequence[str], metrics: Sequence[str]
) -> TableSpec:
    """The specification of a table of backbones by tasks.

    Args:
        backbones, tasks: `fnmatch` patterns of labels ("best", "random-*") and of tasks ("detect",
            "linear-*"). Empty: all.
        metrics: metrics or names in `costs.COSTS`; each task shows those that it has. Empty: the
            headline metric of each task.

    Raises:
        RecordError: a pattern matches nothing, or no selected record has any of the metrics.
    """
    rows = _matching([it.recipe for it in index.kinds], backbones, "backbone")
    columns = []
    for task in _matching([it.task for it in index.kinds], tasks, "task"):
        runs = index.select(RecordFilter(task=task, recipes=tuple(rows)))
        there = {name: it.unit for run in runs for name, it in run.metrics.items()}
        wanted = metrics or list(dict.fromkeys(TASKS[run.stage].headline for run in runs))
        columns += [
            column_of(task, name, there.get(name, "%"))
            for name in wanted
            if name in there or (name in COSTS and runs)
        ]
    if not columns:
        known = sorted({name for it in index.records for name in it.metrics if "@" not in name})
        raise RecordError(
            f"no selected record has the metric {', '.join(metrics)}; "
            f"known metrics: {', '.join([*known, *COSTS])}"
        )
    return TableSpec(
        name="compare",
        file="compare",
        title="Backbones by tasks",
        row_heading="backbone",
        rows=tuple(Row(label, recipes(label)) for label in rows),
        columns=tuple(columns),
    )


def column_of(task: str, metric: str, unit: str) -> Column:
    """A column for a metric, or a cost, of a task."""
    cost = COSTS.get(metric)
    words = [task, metric, *([f"({cost.unit})"] if cost and cost.unit else [])]
    return Column(
        key=f"{task} {metric}",
        heading=" ".join(words),
        where=RecordFilter(task=task),
        metric=metric,
        published=False,
        unit=unit,
        decimals=cost.decimals if cost else None,
    )


def _matching(names: Sequence[str], patterns: Sequence[str], what: str) -> list[str]:
    """The names that match, in the order of the patterns, each once."""
    known = sorted(set(names))
    found: dict[str, None] = {}
    for pattern in patterns or ["*"]:
        matching = [name for name in known if fnmatchcase(name, pattern)]
        if not matching:
            raise RecordError(f"no record matches {what} {pattern!r}; found: {', '.join(known)}")
        found |= dict.fromkeys(matching)
    return list(found)
