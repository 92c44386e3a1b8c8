"""The files of configs/pretrain: one trick each, with the papers' settings and accuracies."""

from __future__ import annotations

import ast
import dataclasses
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from core import configs
from pretrain import recipe

ROOT = Path(__file__).resolve().parents[2]

# Table 4's rows, top to bottom, and the switch that each adds.
TABLE_4 = {
    "linear-scaling": ("Linear scaling", "linear_scaling"),
    "warmup": ("+ LR warmup", "warmup_epochs"),
    "zero-gamma": ("+ Zero gamma", "zero_gamma"),
    "no-bias-decay": ("+ No bias decay", "no_bias_decay"),
    "fp16": ("+ FP16", "precision"),
}
A2_ADDS = """epochs optimiser batch_size base_batch_size lr warmup_epochs lr_decay weight_decay
    no_bias_decay init zero_gamma precision loss randaugment mixup_alpha cutmix_alpha repeats
    drop_path crop_ratio interpolation hsv_jitter pca_noise mean std"""

# Each recipe, its parent, and the settings in which they differ.
TREE = {
    "b-standard": (None, None),
    "bs256-linear-scaling": ("b-standard", {"arch", "linear_scaling"}),
    "bs256-warmup": ("bs256-linear-scaling", {"warmup_epochs"}),
    "bs256-zero-gamma": ("bs256-warmup", {"zero_gamma"}),
    "bs256-no-bias-decay": ("bs256-zero-gamma", {"no_bias_decay"}),
    "bs256-fp16": ("bs256-no-bias-decay", {"precision"}),
    **{f"bs1024-{row}": (f"bs256-{row}", {"batch_size"}) for row in TABLE_4},
    "b-efficient": ("bs1024-fp16", {"arch"}),
    "c-efficient": ("b-efficient", {"arch"}),
    "d-efficient": ("c-efficient", {"arch"}),
    "cosine": ("d-efficient", {"lr_decay"}),
    "smooth": ("cosine", {"label_smoothing"}),
    "distill": ("smooth", {"distill"}),
    "mixup": ("smooth", {"mixup_alpha", "epochs"}),  # the paper trains mixup for longer
    "best": ("mixup", {"distill"}),
    "mixup-120": ("mixup", {"epochs"}),
    "best-120": ("best", {"epochs"}),
    "teacher": ("smooth", {"arch"}),
    "teacher-mixup": ("mixup", {"arch"}),
    "a2": ("b-standard", set(A2_ADDS.split())),
    "a1": ("a2", {"epochs", "weight_decay", "label_smoothing", "mixup_alpha"}),
    "a3": ("a2", {"epochs", "train_resolution", "lr", "randaugment", "repeats", "drop_path"}),
}


def source(name: str) -> str:
    return (ROOT / "configs/pretrain" / f"{name}.py").read_text()


@cache
def as_written(name: str) -> recipe.Recipe:
    return recipe.from_config(configs.read("pretrain", name), name)


def test_these_are_all() -> None:
    assert set(configs.names("pretrain")) == set(TREE)


@pytest.mark.parametrize("name", TREE)
def test_a_file_states_its_parent_and_what_it_adds_and_nothing_else(name: str) -> None:
    stated = {}
    for line in ast.parse(source(name)).body:
        assert isinstance(line, ast.Assign), f"{name} holds more than settings"
        stated[line.targets[0].id] = line.value
    parent, added = TREE[name]

    base = stated.pop("_base_", ast.Constant(None))
    assert ast.literal_eval(base) == (f"{parent}.py" if parent else None)

    if added is None:  # the root states all but what is off by default
        missing = dataclasses.MISSING
        added = {f.name for f in dataclasses.fields(recipe.Recipe) if f.default is missing}
        assert len(added) == 26
    assert set(stated) == added


@pytest.mark.parametrize("name", [name for name in TREE if TREE[name][0]])
def test_a_merged_recipe_differs_from_its_parents_only_in_what_it_adds(name: str) -> None:
    parent, added = TREE[name]
    mine, theirs = (dataclasses.asdict(as_written(n)) for n in (name, parent))

    assert {key for key in mine if mine[key] != theirs[key]} == added


# --- the opening comment

# Where each recipe's figure is printed: paper, table, row, column.
BOT, RSB = "bag-of-tricks", "strikes-back"
PUBLISHED = {
    "b-standard": [(BOT, "8", "B-standard", "top1")],
    **{f"bs256-{row}": [(BOT, "4", TABLE_4[row][0], "bs256_top1")] for row in TABLE_4},
    **{f"bs1024-{row}": [(BOT, "4", TABLE_4[row][0], "bs1024_top1")] for row in TABLE_4},
    "b-efficient": [(BOT, "5", "ResNet-50-B", "top1")],
    "c-efficient": [(BOT, "5", "ResNet-50-C", "top1")],
    "d-efficient": [
        (BOT, "5", "ResNet-50-D", "top1"),
        (BOT, "6", "Efficient", "resnet50d_top1"),
        (BOT, "8", "D-efficient", "top1"),
    ],
    **{
        name: [(BOT, "6", in_6, "resnet50d_top1"), (BOT, "8", in_8, "top1")]
        for name, in_6, in_8 in (
            ("cosine", "+ cosine decay", "+ cosine"),
            ("smooth", "+ label smoothing", "+ smooth"),
            ("distill", "+ distill w/o mixup", "+ distill w/o mixup"),
            ("mixup", "+ mixup w/o distill", "+ mixup w/o distill"),
            ("best", "+ distill w/ mixup", "+ distill w/ mixup"),
        )
    },
    **{name.lower(): [(RSB, "1", name, "val")] for name in ("A1", "A2", "A3")},
    "teacher": [],  # the paper does not say how good its teachers are
    "teacher-mixup": [],
    "mixup-120": [],  # the paper trains with mixup for 200 epochs only
    "best-120": [],
}
PUBLISHED["bs256-linear-scaling"] += [
    (BOT, "2", "ResNet-50", "baseline_top1"),
    (BOT, "3", "ResNet-50", "baseline_top1"),
]
PUBLISHED["bs1024-fp16"] += [
    (BOT, "3", "ResNet-50", "efficient_top1"),
    (BOT, "5", "ResNet-50", "top1"),
]


@cache
def tables(paper: str) -> dict:
    return yaml.safe_load((ROOT / "results/papers" / f"{paper}.yaml").read_text())["tables"]


def printed(paper: str, number: str, row: str, column: str) -> float:
    table = tables(paper)[number]
    return table["rows"][row][table["columns"].index(column)]


def test_every_recipes_figure_is_looked_up() -> None:
    assert set(PUBLISHED) == set(TREE)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_figure_is_the_papers(name: str) -> None:
    """As in: 76.21 top-1 (tables 3, 4 and 5). Or: 79.15 top-1 in table 6, 79.16 in table 8."""
    lines = [line for line in source(name).splitlines() if line.startswith("# Published: ")]
    stated = [
        (number, float(figure))
        for line in lines
        for figure, tables in re.findall(
            r"(\d\d\.\d+)(?: top-1)? (?:in |\()tables? (\d(?:(?:, | and )\d(?![\d.]))*)", line
        )
        for number in re.findall(r"\d", tables)
    ]

    expected = [(place[1], printed(*place)) for place in PUBLISHED[name]]
    assert sorted(stated) == sorted(expected)
    assert len(lines) == (1 if expected else 0)


@pytest.mark.parametrize("name", TREE)
def test_a_file_opens_with_its_paper_and_a_command_of_its_own(name: str) -> None:
    lines = source(name).splitlines()
    comments = lines[: lines.index("")]

    paper = "ResNet strikes back" if name in ("a1", "a2", "a3") else "Bag of Tricks"
    assert comments[0].startswith(f"# {paper}, ")
    assert all(line.startswith("# ") for line in comments)
    assert re.fullmatch(rf"# make pretrain VARIANT={name} PROTOCOL=paper GPUS=\d", comments[-1])
    assert re.findall(r"VARIANT=(\S+)", source(name)) == [name]


# --- values

ON = {
    "linear_scaling": True,
    "warmup_epochs": 5,
    "zero_gamma": True,
    "no_bias_decay": True,
    "precision": "fp16",
}
OFF = {
    "linear_scaling": False,
    "warmup_epochs": 0,
    "zero_gamma": False,
    "no_bias_decay": False,
    "precision": "fp32",
}


@pytest.mark.parametrize("batch", [256, 1024])
@pytest.mark.parametrize("row", TABLE_4)
def test_table_4_has_each_row_at_both_batches_with_the_switches_so_far(
    row: str, batch: int
) -> None:
    found = dataclasses.asdict(as_written(f"bs{batch}-{row}"))

    so_far = list(TABLE_4)[: list(TABLE_4).index(row) + 1]
    switched = {TABLE_4[one][1]: ON[TABLE_4[one][1]] for one in so_far}
    baseline = dataclasses.asdict(as_written("b-standard"))
    assert {key: baseline[key] for key in OFF} == OFF
    assert found == baseline | OFF | switched | {"batch_size": batch, "arch": "resnet50_v1"}


EFFICIENT = {**ON, "batch_size": 1024}
REFINED = {**EFFICIENT, "arch": "resnet50d", "lr_decay": "cosine", "label_smoothing": 0.1}
MIXED = {**REFINED, "epochs": 200, "mixup_alpha": 0.2}
STANDARD = {
    **OFF,
    "arch": "resnet50",
    "epochs": 120,
    "batch_size": 256,
    "lr_decay": "step",
    "label_smoothing": 0,
    "mixup_alpha": 0,
    "distill": None,
}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("b-standard", {}),
        ("b-efficient", EFFICIENT),
        ("c-efficient", {**EFFICIENT, "arch": "resnet50c"}),
        ("d-efficient", {**EFFICIENT, "arch": "resnet50d"}),
        ("cosine", {**REFINED, "label_smoothing": 0}),
        ("smooth", REFINED),
        ("distill", {**REFINED, "distill": "teacher"}),
        ("mixup", MIXED),
        ("best", {**MIXED, "distill": "teacher-mixup"}),
        ("mixup-120", {**MIXED, "epochs": 120}),
        ("best-120", {**MIXED, "distill": "teacher-mixup", "epochs": 120}),
        ("teacher", {**REFINED, "arch": "resnet152d"}),
        ("teacher-mixup", {**MIXED, "arch": "resnet152d"}),
    ],
)
def test_values_are_those_of_bag_of_tricks(name: str, values: dict) -> None:
    found = dataclasses.asdict(as_written(name))

    mean, std = ([255 * x for x in found.pop(key)] for key in ("mean", "std"))
    assert mean == pytest.approx([123.68, 116.779, 103.939], rel=1e-12)
    assert std == pytest.approx([58.393, 57.12, 57.375], rel=1e-12)
    assert found == STANDARD | values | {
        "dataset": "imagenet",
        "optimiser": "sgd",
        "lr": 0.1,
        "base_batch_size": 256,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "init": "xavier",
        "loss": "ce",
        "distill_temperature": 20,
        "train_resolution": 224,
        "eval_resolution": 224,
        "crop_ratio": 224 / 256,
        "interpolation": "bilinear",
        "hsv_jitter": 0.4,
        "pca_noise": 0.1,
        # and nothing of Strikes Back's
        "cutmix_alpha": 0,
        "randaugment": None,
        "repeats": 1,
        "drop_path": 0,
        "ema_decay": 0,
        "accumulation": 1,
        "limit": None,
    }


# Strikes Back's table of ingredients, by rows; the columns are A1, A2 and A3.
INGREDIENTS = {
    "epochs": (600, 300, 100),
    "train_resolution": (224, 224, 160),
    "eval_resolution": (224, 224, 224),
    "optimiser": ("lamb",) * 3,
    "batch_size": (2048,) * 3,
    "lr": (5e-3, 5e-3, 8e-3),
    "lr_decay": ("cosine",) * 3,
    "weight_decay": (0.01, 0.02, 0.02),
    "no_bias_decay": (True,) * 3,
    "warmup_epochs": (5, 5, 5),
    "label_smoothing": (0.1, 0, 0),
    "drop_path": (0.05, 0.05, 0),
    "repeats": (3, 3, 1),
    "randaugment": ("rand-m7-mstd0.5-inc1", "rand-m7-mstd0.5-inc1", "rand-m6-mstd0.5-inc1"),
    "mixup_alpha": (0.2, 0.1, 0.1),
    "cutmix_alpha": (1.0, 1.0, 1.0),
    "loss": ("bce",) * 3,
    "ema_decay": (0, 0, 0),
    "crop_ratio": (0.95, 0.95, 0.95),
    "precision": ("fp16",) * 3,
    "arch": ("resnet50",) * 3,
    "dataset": ("imagenet",) * 3,
    "distill": (None,) * 3,
    # section 2.1's colours are Bag of Tricks'
    "hsv_jitter": (0, 0, 0),
    "pca_noise": (0, 0, 0),
    # timm's own
    "init": ("timm",) * 3,
    "zero_gamma": (True,) * 3,
    "interpolation": ("bicubic",) * 3,
    "mean": ((0.485, 0.456, 0.406),) * 3,
    "std": ((0.229, 0.224, 0.225),) * 3,
    # the rate is that of a batch of 2048
    "base_batch_size": (2048,) * 3,
    "linear_scaling": (False,) * 3,
    "accumulation": (1,) * 3,
    "limit": (None,) * 3,
}
WITHOUT_EFFECT = {"momentum", "distill_temperature"}  # of SGD, and of distillation


@pytest.mark.parametrize("key", INGREDIENTS)
def test_a1_a2_and_a3_have_the_ingredients_of_strikes_back(key: str) -> None:
    found = tuple(getattr(as_written(name), key) for name in ("a1", "a2", "a3"))

    assert found == INGREDIENTS[key]


def test_every_setting_of_a1_a2_and_a3_is_looked_at() -> None:
    fields = {field.name for field in dataclasses.fields(recipe.Recipe)}
    assert fields == set(INGREDIENTS) | WITHOUT_EFFECT


def test_epochs_and_pixels_of_a1_a2_and_a3_are_those_of_table_1() -> None:
    for name in ("a1", "a2", "a3"):
        found = as_written(name)
        assert found.epochs == printed(RSB, "1", name.upper(), "epochs")
        assert found.train_resolution == printed(RSB, "1", name.upper(), "train_resolution")
        gpus = re.search(r"GPUS=(\d)", source(name)).group(1)
        assert int(gpus) == printed(RSB, "1", name.upper(), "gpus")
