"""The command that reproduces a record, parsed by its own stage."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import pytest
from torch.distributed.run import get_args_parser

from core.choices import Choices
from core.record import Record
from results.papers import ablations
from results.report.reproduce import RECIPES, command_of

Make = Callable[..., Record]
COMMON = "--protocol demo --seed 0"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, f"pretrain best {COMMON}"),
        ({"seed": 3}, "pretrain best --protocol demo --seed 3"),
        ({"recipe": "a3-resnet50d"}, f"pretrain a3 --arch resnet50d {COMMON}"),
        (
            {"task": "pretrain-places365", "mirrors": "places365"},
            f"pretrain best --dataset places365 {COMMON}",
        ),
        ({"stage": "detect"}, f"detect --variant best {COMMON}"),
        (
            {"stage": "detect", "task": "detect-fpn", "source": "timm:resnet50.a1_in1k"},
            f"detect --backbone timm:resnet50.a1_in1k --detector fpn {COMMON}",
        ),
        (
            {"stage": "detect", "task": "detect-fpn-bccd", "mirrors": "bccd"},
            f"detect --variant best --detector fpn --dataset bccd {COMMON}",
        ),
        ({"stage": "segment", "source": "recipe:cosine"}, f"segment --variant cosine {COMMON}"),
        (
            {"stage": "linear", "task": "linear-cifar10", "mirrors": "cifar10"},
            f"probe --mode linear --variant best --dataset cifar10 {COMMON}",
        ),
        (
            {"stage": "finetune", "task": "finetune-cifar10", "source": "file:my weights.pth"}
            | {"mirrors": "cifar10"},
            f"probe --mode finetune --backbone 'file:my weights.pth' --dataset cifar10 {COMMON}",
        ),
        (
            {
                "stage": "evaluate",
                "config": {
                    "geometries": [
                        {"resolution": side, "crop_ratio": ratio}
                        for side in (64, 96)
                        for ratio in (0.875, 1.0)
                    ]
                },
            },
            f"evaluate --variant best --resolutions 64 96 --crop-ratios 0.875 1.0 {COMMON}",
        ),
    ],
)
def test_the_command_is_what_was_typed(make: Make, fields: dict, expected: str) -> None:
    assert command_of(make(**fields)) == f"trickbench {expected}"


def test_an_ablation_has_its_options(make: Make) -> None:
    for it in ablations.runs():
        if it.options:
            chosen = Choices(variant=it.recipe, cfg_options=it.options)
            words = shlex.split(str(command_of(make(recipe=it.label, choices=chosen))))
            assert words[2:-4] == [it.recipe, "--cfg-options", *it.options]


@pytest.mark.parametrize(
    "fields",
    [
        {"recipe": "best-epochs-1"},
        {"stage": "detect", "task": "detect-optim_wrapper.optimizer.lr-0.002"},
        {"stage": "linear", "task": "linear-cifar10-train1000", "mirrors": "cifar10"},
        {"stage": "evaluate", "task": "evaluate-images-cats"},  # of a path, the last folder
    ],
)
def test_settings_that_a_name_does_not_tell_have_no_command(make: Make, fields: dict) -> None:
    assert command_of(make(**fields, schema_version=1)) is None


def test_several_devices_are_started_as_several(make: Make) -> None:
    cost = make().cost.model_copy(update={"devices": 4})
    launcher, *words = shlex.split(str(command_of(make(cost=cost))))
    assert launcher == "torchrun"
    found = get_args_parser().parse_args(words)
    assert (found.nproc_per_node, found.standalone, found.no_python) == ("4", True, True)
    assert shlex.join([found.training_script, *found.training_script_args]) == command_of(make())


def test_every_recipe_is_known_by_its_name(make: Make) -> None:
    assert {"best", "a1", "bs256-fp16"} <= set(RECIPES)
    for name in RECIPES:
        assert command_of(make(recipe=name)) == f"trickbench pretrain {name} {COMMON}"


def test_the_stages_own_parsers_take_it(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    from downstream.__main__ import main

    run = make(stage="linear", task="linear-cifar10", mirrors="cifar10", protocol="absent")
    words = shlex.split(str(command_of(run)))[1:]
    assert main(words) != 0  # it goes as far as looking for the protocol
    assert "absent" in capsys.readouterr().err
