"""What each table is, as data: which records its rows and columns speak of, which metric they show.

A cell shows the records that its row and its column both speak of. In every table one side names
backbones and the other data sets; a table that mirrors the paper's may grow on the side of the
backbones, by those that the paper does not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from results.record import Record

Side = Literal["rows", "columns"]


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
    """A row: its name, which is also the published row's, and its records."""

    heading: str
    where: Where


@dataclass(frozen=True)
class Column:
    """A column: one metric, in %, of its records.

    `key` names it in CSV and among the published columns, `heading` in Markdown. `split` is asked
    of the metric where the paper has columns for several. `published`: the paper has this column.
    """

    key: str
    heading: str
    where: Where
    metric: str
    split: str | None = None
    published: bool = True


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
        random_last: random weights stand after the further backbones, not before.
        found_metrics: columns that are not declared but found: each of these metrics, for each
            stage of `further_stages` and each data set, where there is a record.
        decimals: digits printed in Markdown, as many as the paper prints. CSV always has two.
    """

    name: str
    file: str
    title: str
    row_heading: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    backbones_in: Side = "rows"
    further_stages: tuple[str, ...] = ()
    random_last: bool = False
    found_metrics: tuple[str, ...] = ()
    decimals: int = 2


def _recipe(name: str) -> Where:
    return Where(recipes=(name,))


_REFINEMENTS = (
    Row("B-standard", _recipe("b-standard")),
    Row("D-efficient", _recipe("d-efficient")),
    Row("+ cosine", _recipe("cosine")),
    Row("+ smooth", _recipe("smooth")),
    Row("+ distill w/o mixup", _recipe("distill")),
    Row("+ mixup w/o distill", _recipe("mixup")),
)
_IMAGENET = Where(stage="pretrain", mirrors="imagenet")
_PLACES = Where(stage="pretrain", mirrors="places365")
# The task, not only the stage: FPN is another detector than the paper's C4.
_VOC = Where(stage="detect", task="detect", mirrors="voc")
_ADE20K = Where(stage="segment", task="segment", mirrors="ade20k")
# Not every ResNet-50 of torchvision: IMAGENET1K_V2 has 80.9 where the paper's column has 76.1.
_TORCHVISION = Where(
    recipes=("torchvision-resnet50-IMAGENET1K_V1",),
    sources=("torchvision:resnet50", "torchvision:resnet50?IMAGENET1K_V1"),
)

TABLES = (
    Declaration(
        name="bag-of-tricks/7",
        file="table7",
        title="Bag of Tricks, table 7: Places365, trained from scratch",
        row_heading="model",
        rows=(
            Row("ResNet-50-D Efficient", _recipe("d-efficient")),
            # The best without a teacher: there is none that was trained on Places365.
            Row("ResNet-50-D Best", _recipe("mixup")),
        ),
        columns=(
            Column("val_top1", "val top-1", _PLACES, "top1", split="val"),
            Column("val_top5", "val top-5", _PLACES, "top5", split="val"),
            # The labels of the test set are not public: no record has these.
            Column("test_top1", "test top-1", _PLACES, "top1", split="test"),
            Column("test_top5", "test top-5", _PLACES, "top5", split="test"),
        ),
    ),
    Declaration(
        name="bag-of-tricks/8",
        file="table8",
        title="Bag of Tricks, table 8: Faster R-CNN on PASCAL VOC",
        row_heading="base model",
        rows=(*_REFINEMENTS, Row("+ distill w/ mixup", _recipe("best"))),
        columns=(
            Column("top1", "top-1", _IMAGENET, "top1"),
            Column("map", "mAP", _VOC, "map"),
        ),
        further_stages=("detect",),
    ),
    Declaration(
        name="bag-of-tricks/9",
        file="table9",
        title="Bag of Tricks, table 9: FCN on ADE20K",
        row_heading="base model",
        rows=(*_REFINEMENTS, Row("+ mixup w/ distill", _recipe("best"))),
        columns=(
            Column("top1", "top-1", _IMAGENET, "top1"),
            Column("pix_acc", "pixAcc", _ADE20K, "pix_acc"),
            Column("miou", "mIoU", _ADE20K, "miou"),
        ),
        further_stages=("segment",),
    ),
    Declaration(
        name="strikes-back/5",
        file="strikes-back-table5",
        title="ResNet strikes back, table 5: fine-tuning, top-1",
        row_heading="data set",
        rows=(
            Row("ImageNet-val", _IMAGENET),
            Row("iNaturalist 2019", Where(stage="finetune", mirrors="inaturalist2019")),
            Row("Flowers-102", Where(stage="finetune", mirrors="flowers102")),
            Row("Stanford Cars", Where(stage="finetune", mirrors="stanford-cars")),
            Row("CIFAR-100", Where(stage="finetune", mirrors="cifar100")),
            Row("CIFAR-10", Where(stage="finetune", mirrors="cifar10")),
        ),
        columns=(
            Column("pytorch", "PyTorch", _TORCHVISION, "top1"),
            Column("a1", "A1", _recipe("a1"), "top1"),
            Column("a2", "A2", _recipe("a2"), "top1"),
            Column("a3", "A3", _recipe("a3"), "top1"),
        ),
        backbones_in="columns",
        further_stages=("finetune",),
        random_last=True,
        decimals=1,
    ),
    Declaration(
        name="probes",
        file="probes",
        title="Probes: linear evaluation and fine-tuning of each backbone",
        row_heading="backbone",
        rows=(),
        columns=(),
        further_stages=("linear", "finetune"),
        random_last=True,
        found_metrics=("top1", "top5"),
    ),
)

# The order in which found backbones are listed, before any other: the papers'.
PAPER_RECIPES = (
    "b-standard",
    "d-efficient",
    "cosine",
    "smooth",
    "distill",
    "mixup",
    "best",
    "a1",
    "a2",
    "a3",
)
