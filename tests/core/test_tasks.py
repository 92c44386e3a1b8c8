"""The table of tasks, and that everything that iterates over it agrees."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from core import configs
from core.choices import Choices
from core.tasks import TASKS, Task
from results.papers import published

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_declaration_is_whole(task: Task) -> None:
    module, _, function = task.entry.partition(":")
    assert (ROOT / f"{module.replace('.', '/')}.py").is_file()
    assert function
    assert set(task.choices) <= Choices.model_fields.keys()
    assert set(task.compared) <= task.metrics.keys()
    assert task.headline in task.metrics
    for role in task.datasets:
        assert role in configs.read_protocol("paper").datasets
    for metric in task.metrics.values():
        if metric.published:
            table, column = metric.published
            assert column in published.load()[table].columns


def test_every_entry_is_there() -> None:
    from downstream.openmmlab import compat

    compat.prepare()
    for task in TASKS.values():
        module, _, function = task.entry.partition(":")
        assert callable(getattr(import_module(module), function, None)), task.entry


def test_help_lists_every_task() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trickbench", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for task in TASKS.values():
        assert f"  {task.command[0]} " in done.stdout
