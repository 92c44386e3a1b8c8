"""The front door: what each target of the Makefile would run, and in which order."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core import configs, tasks

ROOT = Path(__file__).parents[1]
RECIPES = configs.names("pretrain")
TEACHERS = {
    name: teacher for name in RECIPES if (teacher := configs.read("pretrain", name).get("distill"))
}
TASKS = {"demo": 4, "mini": 6, "mini-cpu": 4}


@pytest.fixture
def planned(tmp_path: Path) -> Callable[..., list[str]]:
    """The commands that `make` would run, each from the task's name on."""
    manifest = tmp_path / "demo/manifest.json"
    manifest.parent.mkdir()
    manifest.touch()  # nothing to render

    def plan(*words: str, status: int = 0) -> list[str]:
        settings = [f"PYTHON={sys.executable}", f"RUNS={tmp_path}", f"DATA={tmp_path}"]
        done = subprocess.run(
            ["make", "DRY_RUN=1", *settings, *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        if status:
            return [done.stderr]
        found = (re.search(r"-m trickbench (.*)", line) for line in done.stdout.splitlines())
        return [it[1] for it in found if it]

    return plan


def recipe_of(command: str) -> str:
    """The recipe that a command pretrains."""
    return command.split()[1]


@pytest.mark.parametrize("command", sorted({it.command[0] for it in tasks.TASKS.values()}))
def test_every_task_is_a_target(command: str, planned: Callable) -> None:
    *_, mine = planned(command, "VARIANT=cosine", "DATASET=cifar10")
    assert mine.startswith(f"{command} ")


def test_a_recipe_is_trained_after_its_teacher(planned: Callable) -> None:
    for name in ("best", "cosine"):
        words = ("pretrain", f"VARIANT={name}", "PROTOCOL=paper", "ARCH=resnet18", "SEED=3")
        *before, mine = planned(*words)
        assert mine.startswith(f"pretrain {name} --arch resnet18 --protocol paper --seed 3")
        assert [recipe_of(it) for it in before] == ([TEACHERS[name]] if name in TEACHERS else [])
        assert all("--protocol paper --seed 3" in it and "--arch" not in it for it in before)


def test_a_teacher_that_is_named_is_not_trained(planned: Callable) -> None:
    (found,) = planned("pretrain", "VARIANT=best", "PROTOCOL=paper", "TEACHER=mine.safetensors")
    assert "--teacher mine.safetensors" in found


@pytest.mark.parametrize("protocol", TASKS)
def test_a_whole_protocol_is_every_backbone_in_every_task(protocol: str, planned: Callable) -> None:
    found = planned("records", f"PROTOCOL={protocol}")
    trained = {recipe_of(it) for it in found if it.startswith("pretrain")}
    tested = [it for it in found if not it.startswith("pretrain")]
    variants = {it.split("--variant ")[1].split()[0] for it in tested if "--variant" in it}
    assert variants <= trained <= set(RECIPES)
    assert trained - variants <= set(TEACHERS.values())
    assert len(tested) == len(set(tested)) == TASKS[protocol] * (len(variants) + 1)
    assert sum("--backbone random:resnet50d" in it for it in tested) == TASKS[protocol]


def test_settings_are_tried_where_no_test_image_is(planned: Callable) -> None:
    rate = "optim_wrapper.optimizer.lr=0.08"
    words = ("VARIANT=cosine", "PROTOCOL=mini-cpu", "DATASET=tinyloc-val", f"OPTIONS={rate}")
    source, found = planned("detect", *words)
    assert recipe_of(source) == "cosine"
    assert rate not in source
    assert found.startswith("detect --variant cosine --dataset tinyloc-val --cfg-options " + rate)


def test_several_gpus_are_several_processes(planned: Callable, tmp_path: Path) -> None:
    assert planned("segment", "BACKBONE=random:resnet18", "GPUS=4", "WORKERS=3") == [
        f"segment --backbone random:resnet18 --protocol demo --seed 0 "
        f"--data {tmp_path} --runs {tmp_path} --workers 3"
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("pretrain",), "name a recipe"),
        (("pretrain", "VARIANT=bset"), "did you mean best"),
        (("detect",), "name one backbone"),
        (("detect", "VARIANT=bset"), "did you mean best"),
        (("probe", "VARIANT=best"), "name the dataset to probe on (DATASET=): "),
        (("detect", "VARIANT=best", "DATASET=vok"), "'vok': did you mean voc"),
        (("instances", "VARIANT=best", "PROTOCOL=mini"), "dataset of the mini protocol 'coco'"),
        (("detect", "VARIANT=best", "DETECTOR=c5"), "unknown detector 'c5': did you mean c4"),
        (("probe", "VARIANT=best", "DATASET=cifar10", "MODE=liner"), "invalid choice: 'liner'"),
        (("records", "PROTOCOL=paper"), "unknown study 'paper'"),
    ],
)
def test_what_is_missing_or_misspelt_is_told(
    words: tuple[str, ...], told: str, planned: Callable
) -> None:
    (error,) = planned(*words, status=2)
    assert told in error
