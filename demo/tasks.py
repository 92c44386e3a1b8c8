"""The unit of rendering: one image of one data set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One image to render, independent of every other.

    `index` counts from 0 within (dataset, split, category); `category` is the class or scene
    category of the sets that have one per image and empty for the others.
    """

    dataset: str
    split: str
    index: int
    category: str = ""
