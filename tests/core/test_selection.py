"""A few of many, by hand."""

from __future__ import annotations

from core.selection import evenly


def test_few_of_many_have_the_ends_among_them() -> None:
    names = [str(i) for i in range(9)]
    assert evenly(names, 5) == ["0", "2", "4", "6", "8"]
    assert evenly(names[:2], 5) == ["0", "1"]
    assert evenly([], 5) == []
    assert evenly(range(10, 20), 2) == [10, 19]
    assert evenly(range(10, 20), 1) == [10]
