"""The tables of ResNet strikes back (Wightman et al., 2021)."""

from __future__ import annotations

import runpy
from collections.abc import Iterable
from pathlib import Path

from results.papers import ablations, published
from results.tables.spec import IMAGENET, Column, RecordFilter, Row, TableSpec, printed, recipes

_EVALUATED = RecordFilter(stage="evaluate", mirrors="imagenet")
_REAL = RecordFilter(stage="evaluate", mirrors="imagenet-real")
_V2 = RecordFilter(stage="evaluate", mirrors="imagenet-v2")
# Only IMAGENET1K_V1: the paper's column has 76.1, and torchvision's IMAGENET1K_V2 has 80.9.
_TORCHVISION = RecordFilter(
    recipes=("torchvision-resnet50-IMAGENET1K_V1",),
    sources=("torchvision:resnet50", "torchvision:resnet50?IMAGENET1K_V1"),
)

_A = ("a1", "a2", "a3")
# Rows of table 3 and their names in timm. runpy, because importing mmengine takes a second.
TABLE3: dict[str, str] = runpy.run_path(
    str(Path(__file__).resolve().parents[2] / "configs" / "architectures.py")
)["strikes_back_table3"]


def _architecture_row(name: str, arch: str) -> Row:
    # A label has no architecture if it is the recipe's default.
    return Row(name, {a: recipes(a if arch == "resnet50" else f"{a}-{arch}") for a in _A})


def _ablated(table: str) -> tuple[Row, ...]:
    """The rows of a table of ablations.py."""
    rows: dict[str, dict[str, RecordFilter]] = {}
    for run in ablations.runs():
        if run.table == table:
            rows.setdefault(run.row, {})[run.column] = recipes(run.label)
    return tuple(Row(name, recipes) for name, recipes in rows.items())


def _over_seeds(recipe: str) -> Iterable[Column]:
    """The five columns of a recipe in table 9. Its rows have the metric."""
    where = RecordFilter(stage="evaluate", mirrors="imagenet", recipes=(recipe,))
    name = recipe.upper()
    yield Column(f"{recipe}_mean", f"{name} mean", where, "top1")
    yield Column(f"{recipe}_std", f"{name} std", where, "top1", reduce="std")
    yield Column(f"{recipe}_max", f"{name} max", where, "top1", reduce="max")
    yield Column(f"{recipe}_min", f"{name} min", where, "top1", reduce="min")
    yield Column(f"{recipe}_seed0", f"{name} seed 0", where, "top1", seed=0)


def _cost(key: str, heading: str, metric: str, decimals: int = 0) -> Column:
    return Column(key, heading, IMAGENET, metric, decimals=decimals)


STRIKES_BACK = (
    TableSpec(
        name="strikes-back/1",
        file="strikes-back-table1",
        title="ResNet strikes back, table 1: cost and accuracy of A1, A2 and A3",
        row_heading="recipe",
        rows=tuple(Row(recipe.upper(), recipes(recipe)) for recipe in _A),
        columns=(
            _cost("epochs", "epochs", "epochs"),
            _cost("train_resolution", "training pixels", "train_resolution"),
            _cost("hours", "hours", "hours", decimals=1),
            _cost("peak_memory_mb", "peak memory (MB)", "peak_memory_mb"),
            _cost("gpus", "devices", "devices"),
            Column("val", "val", IMAGENET, "top1"),
            Column("real", "ReaL", _REAL, "top1"),
            Column("v2", "V2", _V2, "top1"),
        ),
        decimals=1,
    ),
    TableSpec(
        name="strikes-back/3",
        file="strikes-back-table3",
        title="ResNet strikes back, table 3: the recipes on other architectures, top-1",
        row_heading="architecture",
        rows=tuple(_architecture_row(name, arch) for name, arch in TABLE3.items()),
        columns=(
            printed("a12_train_res", "A1, A2 training pixels"),
            printed("a12_test_res", "test pixels"),
            printed("a3_train_res", "A3 training pixels"),
            printed("a3_test_res", "test pixels"),
            *(Column(a, a.upper(), IMAGENET, "top1", family=a) for a in _A),
            printed("original", "original"),
        ),
        own={a: a + "-{}" for a in _A},
        decimals=1,
    ),
    TableSpec(
        name="strikes-back/5",
        file="strikes-back-table5",
        title="ResNet strikes back, table 5: fine-tuning, top-1",
        row_heading="dataset",
        rows=(
            Row("ImageNet-val", IMAGENET),
            Row("iNaturalist 2019", RecordFilter(stage="finetune", mirrors="inaturalist2019")),
            Row("Flowers-102", RecordFilter(stage="finetune", mirrors="flowers102")),
            Row("Stanford Cars", RecordFilter(stage="finetune", mirrors="stanford-cars")),
            Row("CIFAR-100", RecordFilter(stage="finetune", mirrors="cifar100")),
            Row("CIFAR-10", RecordFilter(stage="finetune", mirrors="cifar10")),
        ),
        columns=(
            Column("pytorch", "PyTorch", _TORCHVISION, "top1"),
            Column("a1", "A1", recipes("a1"), "top1"),
            Column("a2", "A2", recipes("a2"), "top1"),
            Column("a3", "A3", recipes("a3"), "top1"),
        ),
        backbones_in="columns",
        further_stages=("finetune",),
        random_last=True,
        decimals=1,
    ),
    TableSpec(
        name="strikes-back/6",
        file="strikes-back-table6",
        title="ResNet strikes back, table 6: ablation of A2, top-1",
        row_heading="run",
        rows=_ablated("strikes-back/6"),
        columns=(
            printed("loss", "loss"),
            printed("lr", "lr"),
            printed("weight_decay", "weight decay"),
            printed("repeated_augmentation", "repeated augmentation"),
            Column("top1", "top-1", IMAGENET, "top1", family="top1"),
        ),
        own={"top1": "{}"},
    ),
    TableSpec(
        name="strikes-back/drop-smoothing",
        file="strikes-back-drop-smoothing",
        title="ResNet strikes back: stochastic depth and label smoothing, top-1",
        row_heading="setting",
        rows=_ablated("strikes-back/drop-smoothing"),
        columns=tuple(Column(a, a.upper(), IMAGENET, "top1", family=a) for a in _A),
        own={a: a + "-{}" for a in _A},
    ),
    TableSpec(
        name="strikes-back/9",
        file="strikes-back-table9",
        title="ResNet strikes back, table 9: the crop ratio at test time, top-1",
        row_heading="crop ratio",
        rows=tuple(
            # smaller protocols use a lower test resolution
            Row(ratio, _EVALUATED, metrics=(f"top1@224/{ratio}", f"top1@*/{ratio}"))
            for ratio in published.load()["strikes-back/9"].rows
        ),
        columns=tuple(column for recipe in _A for column in _over_seeds(recipe)),
        backbones_in="columns",
    ),
)
