"""What the papers' seven backbones have been measured on, and what would measure the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from core.choices import Choices, directory
from core.record import Record
from core.tasks import PROBES, TASKS, Task
from results.tables.spec import TRANSFERRED

# The papers' tasks, and the linear probes that stand beside them.
WANTED = (
    ("pretrain", Choices()),
    ("detect", Choices()),
    ("segment", Choices()),
    ("linear", Choices(dataset="places365")),
    ("linear", Choices(dataset="cifar10")),
)


@dataclass(frozen=True)
class Measured:
    """A backbone on a task: so many seeds, and the command that makes the first record."""

    backbone: str
    task: str
    seeds: int
    command: str


def command(task: Task, chosen: Choices, backbone: str, protocol: str) -> str:
    """The call of `make` that runs a task on a recipe's backbone."""
    mode = [] if task.name in (task.command[0], PROBES[0]) else [f"MODE={task.name}"]
    dataset = [] if chosen.dataset is None else [f"DATASET={chosen.dataset}"]
    variables = [f"VARIANT={backbone}", *mode, *dataset, f"PROTOCOL={protocol}"]
    return " ".join(["make", task.command[0], *variables])


def coverage(
    records: Iterable[Record], protocol: str, data_sets: Collection[str] | None = None
) -> list[list[Measured]]:
    """Every backbone, in rows, on every task, in columns.

    Args:
        data_sets: those that the protocol has; a probe on another cannot be missing. None: any.
    """
    tasks = {
        directory(TASKS[name], chosen): (TASKS[name], chosen)
        for name, chosen in WANTED
        if data_sets is None or chosen.dataset is None or chosen.dataset in data_sets
    }
    seeds: dict[tuple[str, str], set[int]] = {}
    for run in records:
        seeds.setdefault((run.recipe, run.task), set()).add(run.seed)
    return [
        [
            Measured(
                backbone,
                name,
                len(seeds.get((backbone, name), ())),
                command(task, chosen, backbone, protocol),
            )
            for name, (task, chosen) in tasks.items()
        ]
        for backbone in TRANSFERRED
    ]


def missing(cells: Sequence[Sequence[Measured]]) -> list[Measured]:
    return [cell for row in cells for cell in row if not cell.seeds]
