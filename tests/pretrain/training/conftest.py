"""What the tests of interrupted runs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import kills


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A work directory beside rendered images."""
    kills.render(tmp_path / "images")
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def children() -> Callable[[int], list[int]]:
    """Lists the child processes of a process."""

    def list_children(pid: int) -> list[int]:
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        return [int(word) for path in tasks for word in path.read_text().split()]

    return list_children
