"""The unit of rendering: one image of one dataset."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One image to render, independently of all others.

    `index` counts from 0 within (dataset, split, category). `category` is the class or scene
    category, or "" in datasets that do not have one per image.
    """

    dataset: str
    split: str
    index: int
    category: str = ""
