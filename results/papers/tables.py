"""Every table: the papers', in their own rows and columns, then probes and costs."""

from __future__ import annotations

import runpy
from collections.abc import Iterable
from pathlib import Path

from results.papers import ablations, published
from results.tables.spec import Column, Declaration, Row, Where, printed


def _recipe(*names: str) -> Where:
    return Where(recipes=names)


def _with_architectures(**suffixes: str) -> dict[str, str]:
    """For each family of columns, the recipe's folder under its architecture."""
    return {family: "{}-" + arch if arch else "{}" for family, arch in suffixes.items()}


def _each(recipe: str, patterns: dict[str, str]) -> dict[str, Where]:
    """A row's recipe in each family of columns."""
    return {family: _recipe(pattern.format(recipe)) for family, pattern in patterns.items()}


_IMAGENET = Where(stage="pretrain", mirrors="imagenet")
_EVALUATED = Where(stage="evaluate", mirrors="imagenet")
_REAL = Where(stage="evaluate", mirrors="imagenet-real")
_V2 = Where(stage="evaluate", mirrors="imagenet-v2")
_PLACES = Where(stage="pretrain", mirrors="places365")
# The task, not only the stage: FPN is another detector than the paper's C4.
_VOC = Where(stage="detect", task="detect", mirrors="voc")
_ADE20K = Where(stage="segment", task="segment", mirrors="ade20k")
# Not every ResNet-50 of torchvision: IMAGENET1K_V2 has 80.9 where the paper's column has 76.1.
_TORCHVISION = Where(
    recipes=("torchvision-resnet50-IMAGENET1K_V1",),
    sources=("torchvision:resnet50", "torchvision:resnet50?IMAGENET1K_V1"),
)


def _top(family: str = "", heading: str = "", key: str = "") -> tuple[Column, Column]:
    """Top-1 and top-5 of the training on ImageNet, of a family of columns."""
    key, heading = key or family, heading or family
    return (
        Column(f"{key}_top1", f"{heading} top-1", _IMAGENET, "top1", family=family),
        Column(f"{key}_top5", f"{heading} top-5", _IMAGENET, "top5", family=family),
    )


_TOP1 = Column("top1", "top-1", _IMAGENET, "top1")
_TOP5 = Column("top5", "top-5", _IMAGENET, "top5")
_PARAMETERS = Column("params_m", "parameters (M)", _IMAGENET, "params_m", decimals=1)
_FLOPS = Column("flops_g", "FLOPs (G)", _IMAGENET, "flops_g", decimals=1)


def _minutes(family: str) -> Column:
    name = "min_per_epoch"
    return Column(
        f"{family}_{name}", f"{family} min/epoch", _IMAGENET, name, family=family, decimals=1
    )


# Tables 2 and 3: each network's recipes. The papers' ResNet-50 has recipes of its own in table 4.
_INCEPTION, _MOBILENET = "inception_v3", "mobilenetv1_100"
_NETWORKS = {
    "ResNet-50": {"baseline": "bs256-linear-scaling", "efficient": "bs1024-fp16"},
    "Inception-V3": {
        "baseline": f"b-standard-{_INCEPTION}",
        "efficient": f"d-efficient-{_INCEPTION}",
    },
    "MobileNet": {
        "baseline": f"b-standard-{_MOBILENET}",
        "efficient": f"d-efficient-{_MOBILENET}",
    },
}
_NETWORK_ROWS = tuple(
    Row(network, {family: _recipe(recipe) for family, recipe in recipes.items()})
    for network, recipes in _NETWORKS.items()
)
_NETWORK_OWN = {"baseline": "b-standard-{}", "efficient": "d-efficient-{}"}

_HEURISTICS = {
    "Linear scaling": "linear-scaling",
    "+ LR warmup": "warmup",
    "+ Zero gamma": "zero-gamma",
    "+ No bias decay": "no-bias-decay",
    "+ FP16": "fp16",
}
_BATCHES = {"bs256": "bs256-{}", "bs1024": "bs1024-{}"}

_TABLE6 = _with_architectures(resnet50d="", inceptionv3=_INCEPTION, mobilenet=_MOBILENET)
_TABLE6_ROWS = {
    "Efficient": "d-efficient",
    "+ cosine decay": "cosine",
    "+ label smoothing": "smooth",
    "+ distill w/o mixup": "distill",
    "+ mixup w/o distill": "mixup",
    "+ distill w/ mixup": "best",
}

_REFINEMENTS = (
    Row("B-standard", _recipe("b-standard")),
    Row("D-efficient", _recipe("d-efficient")),
    Row("+ cosine", _recipe("cosine")),
    Row("+ smooth", _recipe("smooth")),
    Row("+ distill w/o mixup", _recipe("distill")),
    Row("+ mixup w/o distill", _recipe("mixup")),
)

BAG_OF_TRICKS = (
    Declaration(
        name="bag-of-tricks/1",
        file="table1",
        title="Bag of Tricks, table 1: ResNet-50 with all tricks, beside other models",
        row_heading="model",
        rows=(
            Row("ResNet-50", None),
            Row("ResNeXt-50", None),
            Row("SE-ResNet-50", None),
            Row("SE-ResNeXt-50", None),
            Row("DenseNet-201", None),
            Row("ResNet-50 + tricks", _recipe("best")),
        ),
        columns=(_FLOPS, _TOP1, _TOP5),
    ),
    Declaration(
        name="bag-of-tricks/2",
        file="table2",
        title="Bag of Tricks, table 2: baseline training",
        row_heading="model",
        rows=_NETWORK_ROWS,
        columns=(
            *_top("baseline"),
            printed("reference_top1", "reference top-1"),
            printed("reference_top5", "reference top-5"),
        ),
        own=_NETWORK_OWN,
    ),
    Declaration(
        name="bag-of-tricks/3",
        file="table3",
        title="Bag of Tricks, table 3: efficient beside baseline training",
        row_heading="model",
        rows=_NETWORK_ROWS,
        columns=(
            _minutes("efficient"),
            *_top("efficient"),
            _minutes("baseline"),
            *_top("baseline"),
        ),
        own=_NETWORK_OWN,
    ),
    Declaration(
        name="bag-of-tricks/4",
        file="table4",
        title="Bag of Tricks, table 4: the heuristics of efficient training, added one at a time",
        row_heading="heuristic",
        rows=tuple(Row(name, _each(it, _BATCHES)) for name, it in _HEURISTICS.items()),
        columns=(*_top("bs256", "batch 256"), *_top("bs1024", "batch 1024")),
        own=_BATCHES,
    ),
    Declaration(
        name="bag-of-tricks/5",
        file="table5",
        title="Bag of Tricks, table 5: model tweaks",
        row_heading="model",
        rows=(
            Row("ResNet-50", _recipe("bs1024-fp16")),
            Row("ResNet-50-B", _recipe("b-efficient")),
            Row("ResNet-50-C", _recipe("c-efficient")),
            Row("ResNet-50-D", _recipe("d-efficient")),
        ),
        columns=(_PARAMETERS, _FLOPS, _TOP1, _TOP5),
    ),
    Declaration(
        name="bag-of-tricks/6",
        file="table6",
        title="Bag of Tricks, table 6: training refinements, stacked",
        row_heading="refinement",
        rows=tuple(Row(name, _each(it, _TABLE6)) for name, it in _TABLE6_ROWS.items()),
        columns=(
            *_top("resnet50d", "ResNet-50-D"),
            *_top("inceptionv3", "Inception-V3"),
            *_top("mobilenet", "MobileNet"),
        ),
        own=_TABLE6,
    ),
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
        columns=(_TOP1, Column("map", "mAP", _VOC, "map")),
        further_stages=("detect",),
    ),
    Declaration(
        name="bag-of-tricks/9",
        file="table9",
        title="Bag of Tricks, table 9: FCN on ADE20K",
        row_heading="base model",
        rows=(*_REFINEMENTS, Row("+ mixup w/ distill", _recipe("best"))),
        columns=(
            _TOP1,
            Column("pix_acc", "pixAcc", _ADE20K, "pix_acc"),
            Column("miou", "mIoU", _ADE20K, "miou"),
        ),
        further_stages=("segment",),
    ),
)

_A = ("a1", "a2", "a3")
# Table 3's rows, and timm's names for them. The file is plain Python; mmengine would take a second.
TABLE3: dict[str, str] = runpy.run_path(
    str(Path(__file__).resolve().parents[2] / "configs" / "architectures.py")
)["strikes_back_table3"]


def _architecture_row(name: str, arch: str) -> Row:
    # The recipes' own architecture is not in their folders' names.
    return Row(name, {a: _recipe(a if arch == "resnet50" else f"{a}-{arch}") for a in _A})


def _ablated(table: str) -> tuple[Row, ...]:
    """The rows of a table of ablations.py: the recipe of each in each column."""
    rows: dict[str, dict[str, Where]] = {}
    for run in ablations.runs():
        if run.table == table:
            rows.setdefault(run.row, {})[run.column] = _recipe(run.label)
    return tuple(Row(name, recipes) for name, recipes in rows.items())


def _over_seeds(recipe: str) -> Iterable[Column]:
    """Table 9's five columns of a recipe; its rows have the metric."""
    where = Where(stage="evaluate", mirrors="imagenet", recipes=(recipe,))
    name = recipe.upper()
    yield Column(f"{recipe}_mean", f"{name} mean", where, "top1")
    yield Column(f"{recipe}_std", f"{name} std", where, "top1", reduce="std")
    yield Column(f"{recipe}_max", f"{name} max", where, "top1", reduce="max")
    yield Column(f"{recipe}_min", f"{name} min", where, "top1", reduce="min")
    yield Column(f"{recipe}_seed0", f"{name} seed 0", where, "top1", seed=0)


def _cost(key: str, heading: str, metric: str, decimals: int = 0) -> Column:
    return Column(key, heading, _IMAGENET, metric, decimals=decimals)


STRIKES_BACK = (
    Declaration(
        name="strikes-back/1",
        file="strikes-back-table1",
        title="ResNet strikes back, table 1: what A1, A2 and A3 cost and reach",
        row_heading="recipe",
        rows=tuple(Row(recipe.upper(), _recipe(recipe)) for recipe in _A),
        columns=(
            _cost("epochs", "epochs", "epochs"),
            _cost("train_resolution", "training pixels", "train_resolution"),
            _cost("hours", "hours", "hours", decimals=1),
            _cost("peak_memory_mb", "peak memory (MB)", "peak_memory_mb"),
            _cost("gpus", "devices", "devices"),
            Column("val", "val", _IMAGENET, "top1"),
            Column("real", "ReaL", _REAL, "top1"),
            Column("v2", "V2", _V2, "top1"),
        ),
        decimals=1,
    ),
    Declaration(
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
            *(Column(a, a.upper(), _IMAGENET, "top1", family=a) for a in _A),
            printed("original", "original"),
        ),
        own={a: a + "-{}" for a in _A},
        decimals=1,
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
            Column("top1", "top-1", _IMAGENET, "top1", family="top1"),
        ),
        own={"top1": "{}"},
    ),
    Declaration(
        name="strikes-back/drop-smoothing",
        file="strikes-back-drop-smoothing",
        title="ResNet strikes back: stochastic depth and label smoothing, top-1",
        row_heading="setting",
        rows=_ablated("strikes-back/drop-smoothing"),
        columns=tuple(Column(a, a.upper(), _IMAGENET, "top1", family=a) for a in _A),
        own={a: a + "-{}" for a in _A},
    ),
    Declaration(
        name="strikes-back/9",
        file="strikes-back-table9",
        title="ResNet strikes back, table 9: the crop ratio at test time, top-1",
        row_heading="crop ratio",
        rows=tuple(
            # a smaller protocol tests at fewer pixels
            Row(ratio, _EVALUATED, metrics=(f"top1@224/{ratio}", f"top1@*/{ratio}"))
            for ratio in published.load()["strikes-back/9"].rows
        ),
        columns=tuple(column for recipe in _A for column in _over_seeds(recipe)),
        backbones_in="columns",
    ),
)

OWN_TABLES = (
    Declaration(
        name="probes",
        file="probes",
        title="Probes: linear, nearest neighbours and fine-tuning of each backbone",
        row_heading="backbone",
        rows=(),
        columns=(),
        further_stages=("linear", "linear-sgd", "knn", "finetune"),
        random_last=True,
        found_metrics=("top1", "top5"),
    ),
    Declaration(
        name="costs",
        file="costs",
        title="What each backbone's training cost",
        row_heading="backbone",
        rows=(),
        columns=tuple(
            Column(key, heading, _IMAGENET, key, published=False, decimals=decimals)
            for key, heading, decimals in (
                ("params_m", "parameters (M)", 2),
                ("flops_g", "FLOPs (G)", 3),
                ("images_per_s", "images/s", 0),
                ("min_per_epoch", "min/epoch", 2),
                ("peak_memory_mb", "peak memory (MB)", 0),
                ("device_hours", "device-hours", 2),
            )
        ),
        further_stages=("pretrain",),
    ),
)

TABLES = (*BAG_OF_TRICKS, *STRIKES_BACK, *OWN_TABLES)
