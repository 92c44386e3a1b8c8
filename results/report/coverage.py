"""Which of Bag of Tricks' seven backbones have records of which tasks, and what is missing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from core.choices import Choices, directory
from core.record import Record
from core.tasks import PROBES, TASKS, Task
from results.tables.spec import TRANSFERRED

# The papers' tasks, and two linear probes.
WANTED = (
    ("pretrain", Choices()),
    ("detect", Choices()),
    ("segment", Choices()),
    ("linear", Choices(dataset="places365")),
    ("linear", Choices(dataset="cifar10")),
)


@dataclass(frozen=True)
class TaskCoverage:
    """A backbone on a task: the number of seeds, and the command that makes the first record."""

    backbone: str
    task: str
    seeds: int
    command: str


def command(task: Task, chosen: Choices, backbone: str, protocol: str) -> str:
    """The `make` command that runs a task on a recipe's backbone."""
    mode = [] if task.name in (task.command[0], PROBES[0]) else [f"MODE={task.name}"]
    dataset = [] if chosen.dataset is None else [f"DATASET={chosen.dataset}"]
    variables = [f"VARIANT={backbone}", *mode, *dataset, f"PROTOCOL={protocol}"]
    return " ".join(["make", task.command[0], *variables])


def coverage(
    records: Iterable[Record], protocol: str, datasets: Collection[str] | None = None
) -> list[list[TaskCoverage]]:
    """Backbones (rows) by tasks (columns).

    Args:
        datasets: the datasets of the protocol; probes on others are left out. None: all.
    """
    tasks = {
        directory(TASKS[name], chosen): (TASKS[name], chosen)
        for name, chosen in WANTED
        if datasets is None or chosen.dataset is None or chosen.dataset in datasets
    }
    seeds: dict[tuple[str, str], set[int]] = {}
    for run in records:
        seeds.setdefault((run.recipe, run.task), set()).add(run.seed)
    return [
        [
            TaskCoverage(
                backbone,
                name,
                len(seeds.get((backbone, name), ())),
                command(task, chosen, backbone, protocol),
            )
            for name, (task, chosen) in tasks.items()
        ]
        for backbone in TRANSFERRED
    ]


def missing(cells: Sequence[Sequence[TaskCoverage]]) -> list[TaskCoverage]:
    return [cell for row in cells for cell in row if not cell.seeds]
