"""Recipes: changes by protocols, options and architectures, and what is refused."""

from __future__ import annotations

import dataclasses
import re
from functools import cache
from pathlib import Path

import pytest
import timm
from mmengine.config import Config

from core import configs as core_configs
from core.errors import InputError
from core.tasks import TASKS
from pretrain import recipe
from pretrain.model import architectures

NAMES = core_configs.names("pretrain")
PROTOCOLS = ("demo", "mini", "mini-cpu", "paper")


_read = core_configs.read


@cache
def kept(configs: Path, folder: str, name: str) -> Config:
    assert configs == core_configs.CONFIGS
    return _read(folder, name)


@pytest.fixture(autouse=True)
def read_each_file_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cached, because mmengine needs 0.1 s for a long chain of parents."""
    monkeypatch.setattr(core_configs, "read", lambda *which: kept(core_configs.CONFIGS, *which))


def as_written(name: str) -> recipe.Recipe:
    return recipe.from_config(core_configs.read("pretrain", name), name)


def load(name: str, protocol: str = "demo") -> recipe.Recipe:
    return recipe.load(name, protocol, {})


def test_the_protocols() -> None:
    assert set(core_configs.names("protocol")) == set(PROTOCOLS)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_loads_under_every_protocol(name: str, protocol: str) -> None:
    found = load(name, protocol)

    assert timm.is_model(found.arch)
    assert found.dataset in core_configs.names("data")
    assert found.distill is None or found.distill in NAMES
    for key in ("batch_size", "base_batch_size", "train_resolution", "eval_resolution"):
        assert type(getattr(found, key)) is int


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_data_set_of_a_protocol_exists_and_mirrors_the_papers(protocol: str) -> None:
    overlay = core_configs.read_protocol(protocol)

    assert overlay.name == protocol
    for paper, own in overlay.datasets.items():
        assert core_configs.read("data", own).mirrors == paper
    defaults = {name: task.datasets[0] for name, task in TASKS.items() if task.datasets}
    assert defaults.keys() >= {"pretrain", "detect", "segment"}
    # there is no small real set of instance masks
    without = {"coco"} if protocol.startswith("mini") else set()
    assert set(defaults.values()) - without <= set(overlay.datasets)
    for arch in {**overlay.architectures}.values():
        assert arch.endswith("_narrow")
        assert architectures.create(arch, 2) is not None


def test_the_paper_protocol_changes_nothing() -> None:
    for name in NAMES:
        assert load(name, "paper") == as_written(name)


def test_the_demo_protocol_keeps_proportions() -> None:
    names = ("b-standard", "bs1024-warmup", "best", "a3")
    standard, warm, best, a3 = (load(n) for n in names)

    assert best.epochs / standard.epochs == pytest.approx(200 / 120)
    assert warm.warmup_epochs / warm.epochs == pytest.approx(5 / 120)
    assert best.warmup_epochs == warm.warmup_epochs
    assert best.batch_size / standard.batch_size == 4
    assert standard.batch_size == standard.base_batch_size == best.base_batch_size
    assert standard.lr == best.lr
    assert (standard.arch, best.arch) == ("resnet10_narrow", "resnet10d_narrow")
    assert load("teacher").arch == "resnet18d_narrow"
    assert load("c-efficient").arch == "resnet10c_narrow"
    assert (best.train_resolution, best.eval_resolution) == (64, 64)
    assert (a3.train_resolution, a3.eval_resolution) == (46, 64)  # 160 x 64 / 224 is 45.7


def test_a_protocols_factors_by_hand(configs: Path) -> None:
    (configs / "protocol" / "small.py").write_text(
        "name = 'small'\n"
        "architectures = dict(resnet50d='resnet18d')\n"
        "datasets = dict(imagenet='demo/imagenet')\n"
        "pretrain = dict(epochs=1 / 10, batch_size=1 / 16, lr=1 / 4, resolution=1 / 7)\n"
    )

    standard, best, a3 = (recipe.load(n, "small", {}) for n in ("b-standard", "best", "a3"))

    assert (standard.arch, best.arch) == ("resnet50", "resnet18d")
    assert (standard.dataset, best.dataset) == ("demo/imagenet", "demo/imagenet")
    assert (standard.epochs, best.epochs) == pytest.approx((12, 20))
    assert (standard.warmup_epochs, best.warmup_epochs) == pytest.approx((0, 0.5))
    assert (standard.batch_size, best.batch_size) == (16, 64)
    assert (standard.base_batch_size, best.base_batch_size) == (16, 16)
    assert (standard.lr, best.lr) == pytest.approx((0.025, 0.025))
    for found, train in ((standard, 32), (best, 32), (a3, 23)):  # 160 / 7 is 22.9
        assert (found.train_resolution, found.eval_resolution) == (train, 32)
    inception = recipe.load("best", "small", {}, arch="inception_v3")
    assert (inception.train_resolution, inception.eval_resolution) == (43, 43)  # 299 / 7 is 42.7


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", NAMES)
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
    before, after = (dataclasses.asdict(r) for r in (as_written(name), load(name, protocol)))
    assert {k for k in before if before[k] != after[k]} <= size
    whole = load("b-standard", protocol)
    assert after["epochs"] / whole.epochs == pytest.approx(before["epochs"] / 120)
    assert after["batch_size"] / whole.batch_size == before["batch_size"] / 256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bset", "demo", {}), "unknown recipe 'bset': did you mean best"),
        (("bs256-warm-up", "demo", {}), "'bs256-warm-up': did you mean bs256-warmup"),
        (("best", "dmeo", {}), "unknown protocol 'dmeo': did you mean demo"),
        (("best", "demo", {"epoch": 1}), "option: unknown key 'epoch': did you mean epochs"),
        (("best", "demo", {"lable_smoothing": 0}), "did you mean label_smoothing"),
        (("best", "demo", {}, "places356"), "'places356': did you mean places365"),
        (("best", "mini", {}, "places365"), "unknown dataset of the mini protocol 'places365'"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError) as caught:
        recipe.load(*arguments)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_like_no_other_gets_the_whole_list() -> None:
    with pytest.raises(InputError, match="there are: demo, mini, mini-cpu, paper"):
        core_configs.read_protocol("zzz")


@pytest.mark.parametrize("name", ["../protocol/demo", "/etc/passwd", ""])
def test_a_path_is_no_name(name: str) -> None:
    with pytest.raises(InputError, match="unknown recipe"):
        core_configs.read("pretrain", name)


def test_the_data_set_in_the_papers_place_goes_by_both_names() -> None:
    demo = core_configs.read_protocol("demo")

    assert core_configs.dataset_name(demo, "places365") == "demo/places365"
    assert core_configs.dataset_name(demo, "demo/places365") == "demo/places365"
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
    (found,) = core_configs.parse_options([word]).values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("word", ["epochs", "=3", "epochs:3", ""])
def test_an_option_without_key_or_value_is_refused(word: str) -> None:
    with pytest.raises(InputError, match=f"{word!r} is not of the form key=value"):
        core_configs.parse_options([word])


def test_options_come_last() -> None:
    options = {"epochs": 1, "batch_size": 8, "limit": 64, "mean": [0.5, 0.5, 0.5], "lr": 1}
    found = recipe.load("best", "demo", options)

    assert (found.epochs, found.batch_size, found.limit, found.lr) == (1, 8, 64, 1)
    assert found.mean == (0.5, 0.5, 0.5)
    assert found.mixup_alpha == 0.2


def test_a_recipe_cannot_be_changed() -> None:
    found = load("best")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.lr = 1.0
    assert hash(found) == hash(recipe.override(found, {}))


def test_override_changes_some_fields_and_leaves_the_recipe_as_it_was() -> None:
    best = load("best")

    found = recipe.override(best, {"epochs": 2, "std": [1, 1, 1]})

    assert found == dataclasses.replace(best, epochs=2.0, std=(1.0, 1.0, 1.0))
    assert best == load("best")
    with pytest.raises(InputError, match="option: unknown key 'epoch'"):
        recipe.override(best, {"epoch": 2})


def test_checked_says_what_it_checked() -> None:
    values = dataclasses.asdict(load("best"))
    assert recipe.checked("mine", values) == load("best")

    with pytest.raises(InputError, match=r"^mine: lr: -1: Input should be greater than 0$"):
        recipe.checked("mine", values | {"lr": -1})
    del values["lr"]
    with pytest.raises(InputError, match=r"^mine: lr: Field required$"):
        recipe.checked("mine", values)


def write_recipe(configs: Path, name: str, text: str) -> None:
    (configs / "pretrain" / f"{name}.py").write_text(text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("labelsmoothing = 0.1", "unknown key 'labelsmoothing': did you mean label_smoothing"),
        ("lr_decay = 'linear'", "mine: lr_decay: 'linear': Input should be 'step' or 'cosine'"),
        ("epochs = '120'", "mine: epochs: '120': Input should be a valid number"),
        ("momentum = 1.0", "mine: momentum: 1.0: Input should be less than 1"),
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
    with pytest.raises(InputError, match=r"^mine: dataset: Field required$"):
        recipe.from_config(Config({"arch": "resnet50"}), "mine")


def test_as_dict_is_the_same_after_a_round_through_json() -> None:
    found = recipe.as_dict(recipe.load("best", "demo", {}))

    assert set(found) == {field.name for field in dataclasses.fields(recipe.Recipe)}
    assert found["mean"] == pytest.approx([123.68 / 255, 116.779 / 255, 103.939 / 255])
    assert found["distill"] == "teacher-mixup"


def test_digest_is_of_the_values_whatever_their_order() -> None:
    one = core_configs.digest({"a": 1, "b": [1.5, None]})

    assert one == core_configs.digest({"b": [1.5, None], "a": 1})
    assert re.fullmatch("[0-9a-f]{64}", one)
    others = [{"a": 2, "b": [1.5, None]}, {"a": 1, "b": [None, 1.5]}, {"a": 1}]
    assert len({one, *map(core_configs.digest, others)}) == 4
