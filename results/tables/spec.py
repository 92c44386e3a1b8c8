"""What a table is, as data: which records its rows and columns speak of, which metric they show.

A cell shows the records that its row and its column both speak of. In every table one side names
backbones and the other data sets or costs. The papers' tables are in papers.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from core.record import Record

Side = Literal["rows", "columns"]
Reduction = Literal["mean", "std", "max", "min"]


@dataclass(frozen=True)
class Where:
    """Which records a row or a column speaks of; what is left out may be anything.

    `sources` are patterns of `fnmatch`. Where both `recipes` and `sources` are given, one of either
    is enough: a foreign checkpoint is known by its label or by where it came from.
    """

    stage: str | None = None
    task: str | None = None
    mirrors: str | None = None
    architecture: str | None = None
    recipes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def matches(self, record: Record) -> bool:
        asked_and_found = (
            (self.stage, record.stage),
            (self.task, record.task),
            (self.mirrors, record.dataset.mirrors),
            (self.architecture, record.backbone.architecture),
        )
        if any(asked not in (None, found) for asked, found in asked_and_found):
            return False
        if not self.recipes and not self.sources:
            return True
        return record.recipe in self.recipes or any(
            fnmatchcase(record.backbone.source, pattern) for pattern in self.sources
        )


@dataclass(frozen=True)
class Row:
    """A row: its name, which is also the published row's, and its records.

    Attributes:
        where: for all columns; or for each family of columns, where a row stands for several
            recipes (table 6: one per network); or None, if the paper alone has figures.
        metrics: in place of the columns' metric, where rows are what was measured: patterns of
            `fnmatch`; the first that a single metric of a record has is taken.
    """

    heading: str
    where: Where | Mapping[str, Where] | None
    metrics: tuple[str, ...] = ()

    def of(self, family: str) -> Where | None:
        """Its records under the columns of a family."""
        return self.where.get(family) if isinstance(self.where, Mapping) else self.where


@dataclass(frozen=True)
class Column:
    """A column: one metric, or one cost, of its records.

    Attributes:
        key: its name in CSV and among the published columns; `heading` is for readers.
        metric: of the records, or a quantity of quantities.py; None for what is only printed in
            the paper: settings, and others' results.
        split: asked of the metric where the paper has columns for several.
        published: the paper has this column.
        unit: what the metric must be in; a quantity has its own.
        family: which of a row's recipes, where it has several.
        reduce: what is shown of several seeds; a mean comes with its standard deviation.
        seed: show this one only.
        decimals: in place of the table's.
    """

    key: str
    heading: str
    where: Where
    metric: str | None
    split: str | None = None
    published: bool = True
    unit: str = "%"
    family: str = ""
    reduce: Reduction = "mean"
    seed: int | None = None
    decimals: int | None = None


def printed(key: str, heading: str) -> Column:
    """A column of which there are only the paper's figures."""
    return Column(key, heading, Where(), metric=None)


@dataclass(frozen=True)
class Declaration:
    """One table.

    Attributes:
        name: the key of the published table, "bag-of-tricks/8"; or a name of our own.
        file: the name of its files, without extension.
        row_heading: what a row is: the head of the first column.
        backbones_in: the side that names backbones; the other names data sets.
        further_stages: a record of one of these stages, on a data set of the table, adds a row
            (or column) for its backbone, if no declared one speaks of it.
        own: the recipe that a row of the user's own has in each family of columns; "{}" is the
            row's name. Families that are not here stay empty.
        random_last: random weights stand after the further backbones, not before.
        found_metrics: columns that are not declared but found: each of these metrics, for each
            stage of `further_stages` and each data set, where there is a record.
        decimals: digits printed, as many as the paper prints. CSV always has two or more.
    """

    name: str
    file: str
    title: str
    row_heading: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    backbones_in: Side = "rows"
    further_stages: tuple[str, ...] = ()
    own: Mapping[str, str] = field(default_factory=lambda: {"": "{}"})
    random_last: bool = False
    found_metrics: tuple[str, ...] = ()
    decimals: int = 2


# Bag of Tricks' tables 8 and 9.
TRANSFERRED = ("b-standard", "d-efficient", "cosine", "smooth", "distill", "mixup", "best")


# The order in which found backbones are listed, before any other: the papers'.
PAPER_RECIPES = (*TRANSFERRED, "a1", "a2", "a3")
