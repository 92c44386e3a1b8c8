"""The options that every task takes, and what they become."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from core import cli
from core.choices import Choices
from core.errors import InputError
from core.tasks import TASKS


def parse(*words: str, task: str = "detect") -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    cli.add_arguments(parser, [TASKS[task]])
    return parser.parse_args(words)


def test_defaults() -> None:
    args = parse()

    assert (args.protocol, args.seed, args.dataset, args.cfg_options) == ("demo", 0, None, [])
    assert (args.data, args.runs) == (Path("data"), Path("runs"))


def test_options() -> None:
    words = "--protocol mini --seed 3 --data d --runs r --workers 1 --cfg-options a=1 b=2"
    args = parse(*words.split())

    assert (args.protocol, args.seed, args.workers) == ("mini", 3, 1)
    assert (args.data, args.runs, args.cfg_options) == (Path("d"), Path("r"), ["a=1", "b=2"])


@pytest.mark.parametrize(
    "words",
    [
        ["--prot", "demo"],
        ["--nonsense"],
        *(["--seed", seed] for seed in ("x", "-1", "4294967296", "1" * 23, "1.0", "")),
        *(["--workers", workers] for workers in ("-1", "x")),
    ],
)
def test_a_misspelt_option_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(*words)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("cores", "processes", "workers"),
    [(1, 1, 0), (2, 1, 0), (4, 1, 4), (32, 1, 8), (32, 8, 4), (16, 4, 4)],
)
def test_default_workers(
    cores: int, processes: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))

    assert cli.default_workers() == workers


def test_choices_are_the_options_that_decide_the_result() -> None:
    assert cli.choices(parse()) == Choices()
    words = "--detector fpn --limit 64 --cfg-options a=1 b=2 --seed 3 --workers 2 --data d"
    assert cli.choices(parse(*words.split())).given() == {
        "detector": "fpn",
        "cfg_options": ("a=1", "b=2"),
        "limit": 64,
    }


def test_a_task_takes_its_own_choices_alone() -> None:
    with pytest.raises(SystemExit):
        parse("--detector", "fpn", task="segment")


def test_a_value_of_another_type_is_told() -> None:
    with pytest.raises(InputError, match=r"^--dataset 5: Input should be a valid string$"):
        cli.choices(parse(), dataset=5)
