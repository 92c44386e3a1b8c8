"""Names of directories and rows, made from choices; and choices read off records of schema 1."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from core import choices, cli
from core.choices import Choices
from core.record import Record
from core.tasks import TASKS

Make = Callable[..., Record]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, "best"),
        ({"variant": "a2", "arch": "seresnet50"}, "a2-seresnet50"),
        ({"cfg_options": ("lr=0.2", "epochs=90")}, "best-epochs-90-lr-0.2"),
        ({"cfg_options": ("epochs=90", "lr=0.2")}, "best-epochs-90-lr-0.2"),
        (
            {"arch": "vit_tiny_patch16_224", "cfg_options": ("repeats=1",)},
            "best-vit_tiny_patch16_224-repeats-1",
        ),
        ({"cfg_options": ("mean=[0.5, 0.4, 0.3]",)}, "best-mean-0.5-0.4-0.3-"),
        ({"cfg_options": ("arch=../x/y z",)}, "best-arch-..-x-y-z"),
        ({"dataset": "places365", "limit": 9}, "best"),
    ],
)
def test_a_pretraining_with_other_settings_is_another_row(chosen: dict, expected: str) -> None:
    found = choices.row_label(TASKS["pretrain"], Choices(**{"variant": "best"} | chosen))
    assert found == expected
    assert re.fullmatch(r"[A-Za-z0-9._-]+", found), "a directory's name on any system"


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ("random:resnet50d", "random-resnet50d"),
        ("timm:resnet50.a1_in1k", "timm-resnet50.a1_in1k"),
        ("file:../my weights/a.pth,arch=resnet50", "file-..-my-weights-a.pth-arch-resnet50"),
    ],
)
def test_a_specification_becomes_a_file_name(spec: str, label: str) -> None:
    assert choices.row_label(TASKS["detect"], Choices(backbone=spec)) == label


def test_settings_of_a_task_leave_the_row_alone() -> None:
    chosen = Choices(variant="best", arch="resnet18", cfg_options=("lr=1",))
    assert choices.row_label(TASKS["detect"], chosen) == "best-resnet18"


@pytest.mark.parametrize(
    ("task", "words", "name"),
    [
        ("pretrain", "best", "pretrain"),
        ("pretrain", "best --dataset places365 --cfg-options lr=1", "pretrain-places365"),
        ("pretrain", "best --limit 64", "pretrain-limit64"),
        ("detect", "--variant best", "detect"),
        ("detect", "--variant best --detector fpn --dataset voc", "detect-fpn-voc"),
        ("segment", "--variant best --limit 5", "segment-limit5"),
        ("linear", "--variant best --dataset cifar10", "linear-cifar10"),
        ("knn", "--variant best --dataset cifar10 --train-size 1000", "knn-cifar10-train1000"),
        (
            "linear",
            "--variant best --dataset cifar10 --train-size 9 --cfg-options penalties=[0.5,2] "
            "--limit 20",
            "linear-cifar10-train9-penalties-0.5-2--limit20",
        ),
        (
            "detect",
            "--variant best --cfg-options train_cfg.max_epochs=3 optim_wrapper.optimizer.lr=2e-3",
            "detect-optim_wrapper.optimizer.lr-2e-3-train_cfg.max_epochs-3",
        ),
        ("evaluate", "--variant best --images /somewhere/my cats/", "evaluate-images-my-cats"),
    ],
)
def test_the_directory_of_a_task_says_what_was_chosen(task: str, words: str, name: str) -> None:
    """From the command's words to choices and their name, and back to the same words."""
    declared, parser = TASKS[task], argparse.ArgumentParser()
    cli.add_arguments(parser, [declared])
    parser.add_argument("variant" if declared.makes_backbone else "--variant")
    typed = shlex.split(words.replace("my cats", "'my cats'").replace("//", "/"))
    chosen = cli.choices(parser.parse_args(typed))
    assert choices.directory(declared, chosen) == name
    again = choices.command(declared, chosen)[len(declared.command) :]
    assert cli.choices(parser.parse_args(again)) == chosen


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"variant": "best"}),
        ({"recipe": "a3-resnet50d"}, {"variant": "a3", "arch": "resnet50d"}),
        ({"config": {"limit": 8}}, {"variant": "best", "limit": 8}),
        (
            {"stage": "detect", "task": "detect-fpn-bccd", "mirrors": "bccd"},
            {"variant": "best", "detector": "fpn", "dataset": "bccd"},
        ),
        (
            {"stage": "detect", "task": "detect-c4-demo-voc", "mirrors": "voc"},
            {"variant": "best", "detector": "c4", "dataset": "demo-voc"},
        ),
        (
            {"stage": "segment", "source": "timm:resnet50.a1_in1k"},
            {"backbone": "timm:resnet50.a1_in1k"},
        ),
        (
            {"stage": "detect", "task": "detect-train_cfg.max_epochs-3"},
            {"variant": "best", "cfg_options": ("train_cfg.max_epochs-3",)},
        ),
    ],
)
def test_schema_1_has_its_choices_in_names(
    fields: dict[str, Any], expected: dict[str, Any], make: Make
) -> None:
    old = make(**fields, schema_version=1)
    assert old.schema_version == 1
    assert old.choices.given() == expected
    assert Record.model_validate_json(old.model_dump_json()) == old


def test_a_row_of_many_settings_is_a_name_that_a_file_system_takes() -> None:
    """Seven dotted options; two that differ in the last one alone are two rows."""
    options = tuple(f"model.roi_head.bbox_roi_extractor.roi_layer.option{i}=7" for i in range(7))
    others = (*options[:-1], f"{options[-1]}8")
    names = {
        choices.directory(TASKS["detect"], Choices(variant="best", cfg_options=given))
        for given in (options, others)
    }
    assert len(names) == 2
    assert all(len(name) <= 200 for name in names)
