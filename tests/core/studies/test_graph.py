"""Who needs whom, and what is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core import configs, files, record
from core.choices import Choices
from core.execution import Run
from core.record import Record
from core.studies import graph, local, spec
from core.tasks import TASKS

Make = Callable[..., Record]


def a_run(runs: Path, task: str, protocol: str = "paper", **chosen: object) -> Run:
    named = {} if "backbone" in chosen else {"variant": "best"}
    return Run(TASKS[task], Choices(**named | chosen), protocol, 0, runs, Path("data"))


def order(runs: Path, *wanted: Run, teachers: bool = True) -> list[str]:
    """The planned runs, each after what it needs, below the protocol's folder."""
    planned = graph.graph(wanted, teachers=teachers)
    needs = {out: needed for out, (_, needed) in planned.items()}
    return [str(out.relative_to(runs / "paper").parent) for out in local.in_order(needs)]


@pytest.mark.parametrize("recipe", configs.names("pretrain"))
def test_every_recipe_comes_after_the_teacher_that_its_config_names(
    recipe: str, tmp_path: Path
) -> None:
    wanted = a_run(tmp_path, "pretrain", variant=recipe, arch="resnet18", dataset="places365")
    teacher = configs.read("pretrain", recipe).get("distill")
    before = [] if teacher is None else [f"pretrain-places365/{teacher}"]
    assert order(tmp_path, wanted) == [*before, f"pretrain-places365/{recipe}-resnet18"]
    assert order(tmp_path, wanted, teachers=False) == [f"pretrain-places365/{recipe}-resnet18"]


def test_a_task_comes_after_its_backbone_and_its_teacher(tmp_path: Path) -> None:
    wanted = a_run(tmp_path, "detect", detector="fpn", limit=8, cfg_options=("limit=8",))
    assert order(tmp_path, wanted) == [
        *("pretrain/teacher-mixup", "pretrain/best"),
        "detect-fpn-limit-8-limit8/best",
    ]


def test_a_teacher_chosen_by_an_option_is_the_one(tmp_path: Path) -> None:
    wanted = a_run(tmp_path, "pretrain", variant="smooth", cfg_options=("distill=teacher",))
    assert order(tmp_path, wanted) == ["pretrain/teacher", "pretrain/smooth-distill-teacher"]


def test_a_backbone_from_elsewhere_needs_nothing(tmp_path: Path) -> None:
    wanted = a_run(tmp_path, "segment", backbone="random:resnet18")
    assert order(tmp_path, wanted) == ["segment/random-resnet18"]


@pytest.mark.parametrize(
    ("dataset", "needed"),
    [
        (None, "pretrain"),
        ("imagenet", "pretrain"),
        ("imagenet-real", "pretrain"),  # other labels of the same classes
        ("places365", "pretrain-places365"),
    ],
)
def test_an_evaluation_is_of_a_pretraining_on_its_classes(
    dataset: str | None, needed: str, tmp_path: Path
) -> None:
    found = graph.pretraining_of(a_run(tmp_path, "evaluate", dataset=dataset))
    assert found.name == needed


def finish(run: Run, made: Record) -> None:
    record.write(made, run.out / "record.json")
    if run.task.makes_backbone:
        (run.out / graph.WEIGHTS).touch()


def test_what_is_done_is_not_planned(tmp_path: Path, make: Make) -> None:
    wanted = a_run(tmp_path, "detect", protocol="paper")
    backbone = graph.pretraining_of(wanted)
    finish(backbone, make(protocol="paper"))
    assert order(tmp_path, wanted) == ["detect/best"]
    assert not graph.is_done(wanted)


def test_a_record_of_an_earlier_backbone_is_not_done(tmp_path: Path, make: Make) -> None:
    wanted = a_run(tmp_path, "detect")
    backbone = graph.pretraining_of(wanted)
    finish(backbone, make(protocol="paper"))
    made = make(stage="detect", protocol="paper")
    known = {"record_sha256": files.sha256_of(backbone.out / "record.json")}
    made = made.model_copy(update={"backbone": made.backbone.model_copy(update=known)})
    finish(wanted, made)
    assert graph.is_done(wanted)

    finish(backbone, make(protocol="paper", values={"top1": 51.0}))
    assert not graph.is_done(wanted)


def test_a_damaged_record_is_not_done(tmp_path: Path, make: Make) -> None:
    wanted = a_run(tmp_path, "detect")
    finish(graph.pretraining_of(wanted), make(protocol="paper"))
    (wanted.out / "record.json").parent.mkdir(parents=True)
    (wanted.out / "record.json").write_text("{")
    assert not graph.is_done(wanted)


def test_studies_are_every_backbone_on_every_task_with_every_seed(tmp_path: Path) -> None:
    study = spec.read("mini").model_copy(update={"seeds": [0, 1, 2]})
    wanted = list(spec.runs(study, tmp_path, Path("data")))
    assert len({run.out for run in wanted}) == len(wanted) == 13 * 6 * 3
    assert {run.choices.dataset for run in wanted} == {None, "bccd", "cifar10"}
