"""What the papers' seven backbones have been measured on, and what would measure the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from core.record import Record
from results.tables.spec import TRANSFERRED

LINEAR = "linear-"
TASKS = {
    "pretrain": "make pretrain VARIANT={backbone} PROTOCOL={protocol}",
    "detect": "make detect VARIANT={backbone} PROTOCOL={protocol}",
    "segment": "make segment VARIANT={backbone} PROTOCOL={protocol}",
    "linear-places365": "make probe VARIANT={backbone} DATASET=places365 PROTOCOL={protocol}",
    "linear-cifar10": "make probe VARIANT={backbone} DATASET=cifar10 PROTOCOL={protocol}",
}


@dataclass(frozen=True)
class Measured:
    """A backbone on a task: so many seeds, and the command that makes the first record."""

    backbone: str
    task: str
    seeds: int
    command: str


def coverage(
    records: Iterable[Record], protocol: str, data_sets: Collection[str] | None = None
) -> list[list[Measured]]:
    """Every backbone, in rows, on every task, in columns.

    Args:
        data_sets: those that the protocol has; a probe on another cannot be missing. None: any.
    """
    tasks = {
        task: command
        for task, command in TASKS.items()
        if data_sets is None
        or not task.startswith(LINEAR)
        or task.removeprefix(LINEAR) in data_sets
    }
    seeds: dict[tuple[str, str], set[int]] = {}
    for run in records:
        seeds.setdefault((run.recipe, run.task), set()).add(run.seed)
    return [
        [
            Measured(
                backbone,
                task,
                len(seeds.get((backbone, task), ())),
                command.format(backbone=backbone, protocol=protocol),
            )
            for task, command in tasks.items()
        ]
        for backbone in TRANSFERRED
    ]


def missing(cells: Sequence[Sequence[Measured]]) -> list[Measured]:
    return [cell for row in cells for cell in row if not cell.seeds]
