"""The graph of stages: what `make` would run, in which order, without running it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core import configs

ROOT = Path(__file__).parents[1]
RECIPES = configs.names("pretrain")
TEACHERS = {
    name: teacher for name in RECIPES if (teacher := configs.read("pretrain", name).get("distill"))
}
TASKS = {"mini": 6, "mini-cpu": 4}


@pytest.fixture
def planned(tmp_path: Path) -> Callable[..., list[str]]:
    """The commands of the stages that `make` would run, each from its stage's name on."""

    def plan(*words: str, status: int = 0) -> list[str]:
        settings = [f"PYTHON={sys.executable}", f"RUNS={tmp_path}", f"DATA={tmp_path}"]
        done = subprocess.run(
            ["make", "--dry-run", *settings, *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        lines = done.stdout.replace("\\\n", " ").splitlines() if not status else [done.stderr]
        stages = (re.search(r"-m (pretrain|downstream|results) .*", line) for line in lines)
        return [" ".join(it[0].split()) for it in stages if it] if not status else lines

    return plan


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_trained_after_its_teacher(name: str, planned: Callable) -> None:
    found = planned("pretrain", f"VARIANT={name}", "PROTOCOL=paper", "ARCH=resnet18", "SEED=3")
    trained = [(it.split()[-3:]) for it in found]
    mine = [name, "--arch", "resnet18"]
    if name not in TEACHERS:
        assert trained == [mine]
    else:
        assert [it[-1] for it in trained[:-1]] == [TEACHERS[name]]
        assert trained[-1] == mine
    assert all("--protocol paper --seed 3" in it for it in found)


def test_a_teacher_that_is_there_already_is_not_trained(planned: Callable) -> None:
    (found,) = planned("pretrain", "VARIANT=best", "PROTOCOL=paper", "TEACHER=mine.safetensors")
    assert "--teacher mine.safetensors" in found


@pytest.mark.parametrize("protocol", TASKS)
def test_a_whole_protocol_is_every_backbone_in_every_task(protocol: str, planned: Callable) -> None:
    found = planned("records", f"PROTOCOL={protocol}")
    trained = {it.split()[-1] for it in found if it.startswith("-m pretrain")}
    assert trained <= set(RECIPES)
    tested = [it for it in found if it.startswith("-m downstream")]
    assert (
        len(tested) == len(set(tested)) == TASKS[protocol] * (len(trained - _teachers(tested)) + 1)
    )
    assert sum("--backbone random:resnet50d" in it for it in tested) == TASKS[protocol]


def _teachers(tested: list[str]) -> set[str]:
    """The recipes that only teach: nothing is tested on them."""
    return {
        name for name in TEACHERS.values() if not any(f"--variant {name} " in it for it in tested)
    }


def test_settings_are_tried_where_no_test_picture_is(planned: Callable) -> None:
    rate = "optim_wrapper.optimizer.lr=0.08"
    words = ("VARIANT=cosine", "PROTOCOL=mini-cpu", "DATASET=tinyloc-val", f"OPTIONS={rate}")
    source, found = planned("detect", *words)
    assert source.endswith("cosine")
    assert rate not in source
    assert found.startswith("-m downstream detect --dataset tinyloc-val --variant cosine ")
    assert found.endswith(f"--cfg-options {rate}")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("pretrain",), "name a recipe"),
        (("detect",), "name a backbone"),
        (("probe", "VARIANT=best"), "name a data set"),
        (("detect", "VARIANT=best", "DATASET=vok"), "unknown DATASET=vok"),
        (("probe", "VARIANT=best", "DATASET=cifar10", "MODE=liner"), "unknown MODE=liner"),
    ],
)
def test_what_is_missing_or_misspelt_is_told(
    words: tuple[str, ...], told: str, planned: Callable
) -> None:
    (error,) = planned(*words, status=2)
    assert told in error
