"""Recipes: the paper's values, one trick per file, and what a misspelt name gets."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest
import timm
from mmengine.config import Config

from pretrain import models, recipe  # `models` registers the narrow networks
from pretrain.errors import InputError

ROOT = Path(__file__).resolve().parents[2]

# Each recipe, the one it adds to, and the settings in which it differs from it.
TREE = {
    "b-standard": (None, None),
    "b-linear-scaling": ("b-standard", {"batch_size", "linear_scaling"}),
    "b-warmup": ("b-linear-scaling", {"warmup_epochs"}),
    "b-zero-gamma": ("b-warmup", {"zero_gamma"}),
    "b-no-bias-decay": ("b-zero-gamma", {"no_bias_decay"}),
    "b-efficient": ("b-no-bias-decay", {"precision"}),
    "d-efficient": ("b-efficient", {"arch"}),
    "cosine": ("d-efficient", {"lr_decay"}),
    "smooth": ("cosine", {"label_smoothing"}),
    "distill": ("smooth", {"distill"}),
    "mixup": ("smooth", {"mixup_alpha", "epochs"}),  # the paper trains mixup for longer
    "best": ("mixup", {"distill"}),
    "teacher": ("smooth", {"arch"}),
    "teacher-mixup": ("mixup", {"arch"}),
}
PROTOCOLS = ("demo", "mini", "paper")


def as_written(name: str) -> recipe.Recipe:
    return recipe.from_config(recipe.read("pretrain", name), name)


def test_these_are_all() -> None:
    assert set(recipe.names("pretrain")) == set(TREE)
    assert set(recipe.names("protocol")) == set(PROTOCOLS)


@pytest.mark.parametrize("name", TREE)
def test_a_file_states_its_parent_and_what_it_adds_and_nothing_else(name: str) -> None:
    source = (ROOT / "configs/pretrain" / f"{name}.py").read_text()
    stated = {}
    for line in ast.parse(source).body:
        assert isinstance(line, ast.Assign), f"{name} holds more than settings"
        stated[line.targets[0].id] = line.value
    parent, added = TREE[name]

    base = stated.pop("_base_", ast.Constant(None))
    assert ast.literal_eval(base) == (f"{parent}.py" if parent else None)

    if added is None:
        optional = {"accumulation", "limit"}
        added = {field.name for field in dataclasses.fields(recipe.Recipe)} - optional
    assert set(stated) == added


@pytest.mark.parametrize("name", [name for name in TREE if TREE[name][0]])
def test_a_merged_recipe_differs_from_its_parents_only_in_what_it_adds(name: str) -> None:
    parent, added = TREE[name]
    mine, theirs = (dataclasses.asdict(as_written(n)) for n in (name, parent))

    assert {key for key in mine if mine[key] != theirs[key]} == added


@pytest.mark.parametrize("name", TREE)
def test_a_files_command_is_its_own(name: str) -> None:
    source = (ROOT / "configs/pretrain" / f"{name}.py").read_text()
    assert re.findall(r"VARIANT=(\S+)", source) == [name]


EFFICIENT = {
    "batch_size": 1024,
    "linear_scaling": True,
    "warmup_epochs": 5,
    "zero_gamma": True,
    "no_bias_decay": True,
    "precision": "fp16",
}
REFINED = {**EFFICIENT, "arch": "resnet50d", "lr_decay": "cosine", "label_smoothing": 0.1}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (
            "b-standard",
            {
                "arch": "resnet50",
                "epochs": 120,
                "batch_size": 256,
                "lr": 0.1,
                "lr_decay": "step",
                "momentum": 0.9,
                "weight_decay": 1e-4,
                "warmup_epochs": 0,
                "linear_scaling": False,
                "zero_gamma": False,
                "no_bias_decay": False,
                "precision": "fp32",
                "label_smoothing": 0,
                "mixup_alpha": 0,
                "distill": None,
                "train_resolution": 224,
                "eval_resolution": 224,
                "hsv_jitter": 0.4,
                "pca_noise": 0.1,
                "interpolation": "bilinear",
            },
        ),
        ("b-efficient", {**EFFICIENT, "arch": "resnet50", "lr_decay": "step", "epochs": 120}),
        ("d-efficient", {**EFFICIENT, "arch": "resnet50d", "lr_decay": "step", "epochs": 120}),
        ("smooth", {**REFINED, "epochs": 120, "mixup_alpha": 0, "distill": None}),
        ("distill", {**REFINED, "epochs": 120, "distill": "teacher", "distill_temperature": 20}),
        ("mixup", {**REFINED, "epochs": 200, "mixup_alpha": 0.2, "distill": None}),
        (
            "best",
            {
                **REFINED,
                "epochs": 200,
                "mixup_alpha": 0.2,
                "distill": "teacher-mixup",
                "distill_temperature": 20,
            },
        ),
        ("teacher", {**REFINED, "arch": "resnet152d", "epochs": 120, "distill": None}),
        (
            "teacher-mixup",
            {**REFINED, "arch": "resnet152d", "epochs": 200, "mixup_alpha": 0.2, "distill": None},
        ),
    ],
)
def test_values_are_the_papers(name: str, values: dict) -> None:
    found = recipe.load(name, "paper", {})

    assert {key: getattr(found, key) for key in values} == values
    assert (found.dataset, found.momentum, found.weight_decay) == ("imagenet", 0.9, 1e-4)
    assert (found.lr, found.base_batch_size) == (0.1, 256)
    assert found.eval_resolution / found.crop_ratio == 256
    mean, std = ([255 * x for x in moments] for moments in (found.mean, found.std))
    assert mean == pytest.approx([123.68, 116.779, 103.939], rel=1e-12)
    assert std == pytest.approx([58.393, 57.12, 57.375], rel=1e-12)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", TREE)
def test_every_recipe_loads_under_every_protocol(name: str, protocol: str) -> None:
    found = recipe.load(name, protocol, {})

    assert timm.is_model(found.arch)
    assert found.dataset in recipe.names("data")
    assert found.distill is None or found.distill in TREE
    for key in ("batch_size", "base_batch_size", "train_resolution", "eval_resolution"):
        assert type(getattr(found, key)) is int


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_data_set_of_a_protocol_exists_and_mirrors_the_papers(protocol: str) -> None:
    overlay = recipe.read_protocol(protocol)

    assert overlay.name == protocol
    for paper, own in overlay.datasets.items():
        assert recipe.read("data", own).mirrors == paper
    assert set(overlay.stages) == {"pretrain", "detect", "segment"}
    assert set(overlay.stages.values()) <= set(overlay.datasets)
    for arch in {**overlay.architectures}.values():
        assert arch.endswith("_narrow")
        assert models.create(arch, 2) is not None


def test_the_paper_protocol_changes_nothing() -> None:
    for name in TREE:
        assert recipe.load(name, "paper", {}) == as_written(name)


def test_the_demo_protocol_keeps_proportions() -> None:
    standard, warm, best = (recipe.load(n, "demo", {}) for n in ("b-standard", "b-warmup", "best"))

    assert best.epochs / standard.epochs == pytest.approx(200 / 120)
    assert warm.warmup_epochs / warm.epochs == pytest.approx(5 / 120)
    assert best.warmup_epochs == warm.warmup_epochs
    assert best.batch_size / standard.batch_size == 4
    assert standard.batch_size == standard.base_batch_size == best.base_batch_size
    assert standard.lr == best.lr
    assert (standard.arch, best.arch) == ("resnet10_narrow", "resnet10d_narrow")
    assert recipe.load("teacher", "demo", {}).arch == "resnet18d_narrow"


def test_a_protocols_factors_by_hand(configs: Path) -> None:
    (configs / "protocol" / "small.py").write_text(
        "name = 'small'\n"
        "architectures = dict(resnet50d='resnet18d')\n"
        "datasets = dict(imagenet='demo/imagenet')\n"
        "pretrain = dict(epochs=1 / 10, batch_size=1 / 16, lr=1 / 4, resolution=64)\n"
    )

    standard, best = (recipe.load(name, "small", {}) for name in ("b-standard", "best"))

    assert (standard.arch, best.arch) == ("resnet50", "resnet18d")
    assert (standard.dataset, best.dataset) == ("demo/imagenet", "demo/imagenet")
    assert (standard.epochs, best.epochs) == pytest.approx((12, 20))
    assert (standard.warmup_epochs, best.warmup_epochs) == pytest.approx((0, 0.5))
    assert (standard.batch_size, best.batch_size) == (16, 64)
    assert (standard.base_batch_size, best.base_batch_size) == (16, 16)
    assert (standard.lr, best.lr) == pytest.approx((0.025, 0.025))
    for found in (standard, best):
        assert (found.train_resolution, found.eval_resolution) == (64, 64)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", TREE)
def test_no_protocol_touches_a_trick(name: str, protocol: str) -> None:
    size = {
        "arch",
        "dataset",
        "epochs",
        "warmup_epochs",
        "batch_size",
        "base_batch_size",
        "lr",
        "train_resolution",
        "eval_resolution",
        "crop_ratio",
    }
    before, after = (
        dataclasses.asdict(r) for r in (as_written(name), recipe.load(name, protocol, {}))
    )
    assert {k for k in before if before[k] != after[k]} <= size
    whole = recipe.load("b-standard", protocol, {})
    assert after["epochs"] / whole.epochs == pytest.approx(before["epochs"] / 120)
    assert after["batch_size"] / whole.batch_size == before["batch_size"] / 256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bset", "demo", {}), "unknown recipe 'bset': did you mean best"),
        (("b-warm-up", "demo", {}), "unknown recipe 'b-warm-up': did you mean b-warmup"),
        (("best", "dmeo", {}), "unknown protocol 'dmeo': did you mean demo"),
        (("best", "demo", {"epoch": 1}), "unknown option 'epoch': did you mean epochs"),
        (("best", "demo", {"lable_smoothing": 0}), "did you mean label_smoothing"),
        (("best", "demo", {}, "places356"), "'places356': did you mean places365"),
        (("best", "mini", {}, "places365"), "unknown data set of the mini protocol 'places365'"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError) as caught:
        recipe.load(*arguments)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_like_no_other_gets_the_whole_list() -> None:
    with pytest.raises(InputError, match="there are: demo, mini, paper"):
        recipe.read_protocol("zzz")


@pytest.mark.parametrize("name", ["../protocol/demo", "/etc/passwd", ""])
def test_a_path_is_no_name(name: str) -> None:
    with pytest.raises(InputError, match="unknown recipe"):
        recipe.read("pretrain", name)


def test_the_data_set_in_the_papers_place_goes_by_both_names() -> None:
    demo = recipe.read_protocol("demo")

    assert recipe.dataset_name(demo, "places365") == "demo/places365"
    assert recipe.dataset_name(demo, "demo/places365") == "demo/places365"
    assert recipe.load("smooth", "demo", {}, "places365").dataset == "demo/places365"


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("epochs=3", 3),
        ("lr=1e-3", 1e-3),
        ("limit=null", None),
        ("limit=None", None),
        ("no_bias_decay=false", False),
        ("no_bias_decay=True", True),
        ("arch=resnet18d", "resnet18d"),
        ('arch="resnet18d"', "resnet18d"),
        ("mean=[0.5, 0.5, 0.5]", [0.5, 0.5, 0.5]),
        ("note=a=b", "a=b"),
    ],
)
def test_options_are_read_as_json_or_python(word: str, value: object) -> None:
    (found,) = recipe.parse_options([word]).values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("word", ["epochs", "=3", "epochs:3", ""])
def test_an_option_without_key_or_value_is_refused(word: str) -> None:
    with pytest.raises(InputError, match=f"{word!r} is not of the form key=value"):
        recipe.parse_options([word])


def test_options_come_last() -> None:
    options = {"epochs": 1, "batch_size": 8, "limit": 64, "mean": [0.5, 0.5, 0.5], "lr": 1}
    found = recipe.load("best", "demo", options)

    assert (found.epochs, found.batch_size, found.limit, found.lr) == (1, 8, 64, 1)
    assert found.mean == (0.5, 0.5, 0.5)
    assert found.mixup_alpha == 0.2


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        ({"epochs": "many"}, "a number"),
        ({"lr": None}, "a number"),
        ({"lr": True}, "a number"),
        ({"batch_size": 16.5}, "int"),
        ({"batch_size": None}, "int"),
        ({"linear_scaling": 1}, "bool"),
        ({"no_bias_decay": "yes"}, "bool"),
        ({"lr_decay": "linear"}, "step or cosine"),
        ({"precision": "bf16"}, "fp32 or fp16"),
        ({"interpolation": "nearest"}, "bilinear or bicubic"),
        ({"limit": "all"}, "int or None"),
        ({"limit": 10.5}, "int or None"),
        ({"distill": 3}, "str or None"),
        ({"arch": 50}, "str"),
        ({"mean": 0.5}, "3 numbers"),
        ({"mean": [0.5, 0.5]}, "3 numbers"),
        ({"std": ["a", "b", "c"]}, "3 numbers"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(option: dict, wanted: str) -> None:
    ((key, value),) = option.items()
    with pytest.raises(InputError) as caught:
        recipe.load("best", "demo", option)

    assert str(caught.value) == f"option {key}: {_plain(value)!r}, expected {wanted}"


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def write_recipe(configs: Path, name: str, text: str) -> None:
    (configs / "pretrain" / f"{name}.py").write_text(text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("labelsmoothing = 0.1", "unknown key 'labelsmoothing': did you mean label_smoothing"),
        ("lr_decay = 'linear'", "mine: lr_decay: 'linear', expected step or cosine"),
        ("epochs = '120'", "mine: epochs: '120', expected a number"),
    ],
)
def test_a_config_with_an_unknown_key_or_type_is_refused(
    configs: Path, line: str, message: str
) -> None:
    write_recipe(configs, "mine", f"_base_ = 'best.py'\n{line}\n")

    with pytest.raises(InputError) as caught:
        recipe.load("mine", "demo", {})

    assert message in str(caught.value)
    assert str(caught.value).startswith("mine: ")


def test_a_recipe_of_the_users_own(configs: Path) -> None:
    write_recipe(configs, "mine", "_base_ = 'best.py'\nmixup_alpha = 0.4\n")

    mine, best = (recipe.load(name, "demo", {}) for name in ("mine", "best"))

    assert mine == dataclasses.replace(best, mixup_alpha=0.4)


def test_a_config_without_a_field_is_refused() -> None:
    with pytest.raises(InputError, match=r"mine: .*missing.*lr"):
        recipe.from_config(Config({"arch": "resnet50"}), "mine")


def test_as_dict_is_the_same_after_a_round_through_json() -> None:
    found = recipe.as_dict(recipe.load("best", "demo", {}))

    assert set(found) == {field.name for field in dataclasses.fields(recipe.Recipe)}
    assert found["mean"] == pytest.approx([123.68 / 255, 116.779 / 255, 103.939 / 255])
    assert found["distill"] == "teacher-mixup"


def test_digest_is_of_the_values_whatever_their_order() -> None:
    one = recipe.digest({"a": 1, "b": [1.5, None]})

    assert one == recipe.digest({"b": [1.5, None], "a": 1})
    assert re.fullmatch("[0-9a-f]{64}", one)
    others = [{"a": 2, "b": [1.5, None]}, {"a": 1, "b": [None, 1.5]}, {"a": 1}]
    assert len({one, *map(recipe.digest, others)}) == 4
