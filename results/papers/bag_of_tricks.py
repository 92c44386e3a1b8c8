"""The tables of Bag of Tricks for Image Classification (He et al., CVPR 2019)."""

from __future__ import annotations

from results.tables.spec import IMAGENET, Column, RecordFilter, Row, TableSpec, printed, recipes

_PLACES = RecordFilter(stage="pretrain", mirrors="places365")
# Filter by task, not only by stage: FPN is not the detector of the paper (C4).
_VOC = RecordFilter(stage="detect", task="detect", mirrors="voc")
_ADE20K = RecordFilter(stage="segment", task="segment", mirrors="ade20k")


def _each(recipe: str, patterns: dict[str, str]) -> dict[str, RecordFilter]:
    """A row's filter for each family of columns."""
    return {family: recipes(pattern.format(recipe)) for family, pattern in patterns.items()}


def _top(family: str = "", heading: str = "", key: str = "") -> tuple[Column, Column]:
    """Top-1 and top-5 on ImageNet, for a family of columns."""
    key, heading = key or family, heading or family
    return (
        Column(f"{key}_top1", f"{heading} top-1", IMAGENET, "top1", family=family),
        Column(f"{key}_top5", f"{heading} top-5", IMAGENET, "top5", family=family),
    )


_TOP1 = Column("top1", "top-1", IMAGENET, "top1")
_TOP5 = Column("top5", "top-5", IMAGENET, "top5")
_PARAMETERS = Column("params_m", "parameters (M)", IMAGENET, "params_m", decimals=1)
_FLOPS = Column("flops_g", "FLOPs (G)", IMAGENET, "flops_g", decimals=1)


def _minutes(family: str) -> Column:
    name = "min_per_epoch"
    return Column(
        f"{family}_{name}", f"{family} min/epoch", IMAGENET, name, family=family, decimals=1
    )


# Tables 2 and 3. For ResNet-50 the paper uses recipes of its table 4.
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
    Row(network, {family: recipes(recipe) for family, recipe in of_network.items()})
    for network, of_network in _NETWORKS.items()
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

_TABLE6 = {
    "resnet50d": "{}",
    "inceptionv3": "{}-" + _INCEPTION,
    "mobilenet": "{}-" + _MOBILENET,
}
_TABLE6_ROWS = {
    "Efficient": "d-efficient",
    "+ cosine decay": "cosine",
    "+ label smoothing": "smooth",
    "+ distill w/o mixup": "distill",
    "+ mixup w/o distill": "mixup",
    "+ distill w/ mixup": "best",
}

_REFINEMENTS = (
    Row("B-standard", recipes("b-standard")),
    Row("D-efficient", recipes("d-efficient")),
    Row("+ cosine", recipes("cosine")),
    Row("+ smooth", recipes("smooth")),
    Row("+ distill w/o mixup", recipes("distill")),
    Row("+ mixup w/o distill", recipes("mixup")),
)

BAG_OF_TRICKS = (
    TableSpec(
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
            Row("ResNet-50 + tricks", recipes("best")),
        ),
        columns=(_FLOPS, _TOP1, _TOP5),
    ),
    TableSpec(
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
    TableSpec(
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
    TableSpec(
        name="bag-of-tricks/4",
        file="table4",
        title="Bag of Tricks, table 4: the heuristics of efficient training, added one at a time",
        row_heading="heuristic",
        rows=tuple(Row(name, _each(it, _BATCHES)) for name, it in _HEURISTICS.items()),
        columns=(*_top("bs256", "batch 256"), *_top("bs1024", "batch 1024")),
        own=_BATCHES,
    ),
    TableSpec(
        name="bag-of-tricks/5",
        file="table5",
        title="Bag of Tricks, table 5: model tweaks",
        row_heading="model",
        rows=(
            Row("ResNet-50", recipes("bs1024-fp16")),
            Row("ResNet-50-B", recipes("b-efficient")),
            Row("ResNet-50-C", recipes("c-efficient")),
            Row("ResNet-50-D", recipes("d-efficient")),
        ),
        columns=(_PARAMETERS, _FLOPS, _TOP1, _TOP5),
    ),
    TableSpec(
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
    TableSpec(
        name="bag-of-tricks/7",
        file="table7",
        title="Bag of Tricks, table 7: Places365, trained from scratch",
        row_heading="model",
        rows=(
            Row("ResNet-50-D Efficient", recipes("d-efficient")),
            # The best recipe without a teacher: there is no teacher trained on Places365.
            Row("ResNet-50-D Best", recipes("mixup")),
        ),
        columns=(
            Column("val_top1", "val top-1", _PLACES, "top1", split="val"),
            Column("val_top5", "val top-5", _PLACES, "top5", split="val"),
            # The test labels are not public, so no record has these metrics.
            Column("test_top1", "test top-1", _PLACES, "top1", split="test"),
            Column("test_top5", "test top-5", _PLACES, "top5", split="test"),
        ),
    ),
    TableSpec(
        name="bag-of-tricks/8",
        file="table8",
        title="Bag of Tricks, table 8: Faster R-CNN on PASCAL VOC",
        row_heading="base model",
        rows=(*_REFINEMENTS, Row("+ distill w/ mixup", recipes("best"))),
        columns=(_TOP1, Column("map", "mAP", _VOC, "map")),
        further_stages=("detect",),
    ),
    TableSpec(
        name="bag-of-tricks/9",
        file="table9",
        title="Bag of Tricks, table 9: FCN on ADE20K",
        row_heading="base model",
        rows=(*_REFINEMENTS, Row("+ mixup w/ distill", recipes("best"))),
        columns=(
            _TOP1,
            Column("pix_acc", "pixAcc", _ADE20K, "pix_acc"),
            Column("miou", "mIoU", _ADE20K, "miou"),
        ),
        further_stages=("segment",),
    ),
)
