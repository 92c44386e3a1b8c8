"""The specification of a table: which records its rows and columns select, which metrics it shows.

A cell shows the records that both its row and its column select. In every table one side lists
backbones and the other lists datasets or costs. The papers' tables are in `results/papers`.
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
class RecordFilter:
    """Which records a row or a column selects. A field that is not set matches everything.

    `sources` are `fnmatch` patterns. If both `recipes` and `sources` are set, matching one of them
    is enough: an external checkpoint is known by its label or by its source.
    """

    stage: str | None = None
    task: str | None = None
    mirrors: str | None = None
    architecture: str | None = None
    recipes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def matches(self, record: Record) -> bool:
        wanted_and_found = (
            (self.stage, record.stage),
            (self.task, record.task),
            (self.mirrors, record.dataset.mirrors),
            (self.architecture, record.backbone.architecture),
        )
        if any(wanted not in (None, found) for wanted, found in wanted_and_found):
            return False
        if not self.recipes and not self.sources:
            return True
        return record.recipe in self.recipes or any(
            fnmatchcase(record.backbone.source, pattern) for pattern in self.sources
        )


def recipes(*names: str) -> RecordFilter:
    """The records of any of these recipes or labels."""
    return RecordFilter(recipes=names)


IMAGENET = RecordFilter(stage="pretrain", mirrors="imagenet")


@dataclass(frozen=True)
class Row:
    """A row: its name, which is also the name of the published row, and its records.

    Attributes:
        where: one filter for all columns; or one for each family of columns, if the row stands for
            several recipes (table 6: one per network); or None, if only the paper has values.
        metrics: `fnmatch` patterns that replace the column's metric, for tables whose rows are
            metrics. The first pattern that matches exactly one metric of a record is used.
    """

    heading: str
    where: RecordFilter | Mapping[str, RecordFilter] | None
    metrics: tuple[str, ...] = ()

    def filter_for(self, family: str) -> RecordFilter | None:
        """The filter for the columns of a family."""
        return self.where.get(family) if isinstance(self.where, Mapping) else self.where


@dataclass(frozen=True)
class Column:
    """A column: one metric, or one cost, of its records.

    Attributes:
        key: its name in CSV files and in the published table; `heading` is for readers.
        metric: a metric, or a name in `costs.COSTS`; None for values that only the paper has:
            settings, and results of other authors.
        split: the required split, for papers with columns for several splits.
        published: whether the paper has this column.
        unit: the required unit of the metric. Costs have units of their own.
        family: selects one of the row's filters, if it has several.
        reduce: how seeds are combined; a mean is shown with its standard deviation.
        seed: show only this seed.
        decimals: overrides the table's.
    """

    key: str
    heading: str
    where: RecordFilter
    metric: str | None
    split: str | None = None
    published: bool = True
    unit: str = "%"
    family: str = ""
    reduce: Reduction = "mean"
    seed: int | None = None
    decimals: int | None = None


def printed(key: str, heading: str) -> Column:
    """A column for which only the paper has values."""
    return Column(key, heading, RecordFilter(), metric=None)


@dataclass(frozen=True)
class TableSpec:
    """One table.

    Attributes:
        name: the key of the published table, "bag-of-tricks/8", or a name of our own.
        file: the name of its files, without extension.
        row_heading: the heading of the first column.
        backbones_in: the side that lists backbones; the other side lists datasets.
        further_stages: a record of one of these stages, on a dataset of the table, adds a row
            (or column) for its backbone, unless a specified one selects it.
        own: the recipe of a row that the user adds (`--rows`), for each family of columns; "{}" is
            the row's name. Families that are not listed stay empty.
        random_last: whether random weights are listed after the further backbones, not before.
        found_metrics: adds a column for each of these metrics, each stage of `further_stages` and
            each dataset that has a record.
        decimals: printed digits, as many as the paper prints. CSV always has two or more.
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


# Backbones found in the records are listed in this order, then all others by name.
PAPER_RECIPES = (*TRANSFERRED, "a1", "a2", "a3")
