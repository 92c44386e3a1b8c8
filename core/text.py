"""Plain text tables."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(lines: Sequence[Sequence[str]], headed: bool = False) -> str:
    """Lines of cells as columns of text; with a rule under the first, if it is a header."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    if headed:
        padded.insert(1, "-" * len(padded[0]))
    return "\n".join(padded)
