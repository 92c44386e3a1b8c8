"""What the user chose for a run, as data; directory and row names are made from it, here alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from core.files import file_name
from core.tasks import DETECTORS, TASKS, Task


class Choices(BaseModel):
    """Every choice that decides the result of a run, apart from protocol and seed.

    Each field is also the command-line option of that name. A downstream run names its
    backbone by `variant` or by `backbone`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    variant: str | None = Field(default=None, description="a recipe, or the row of a pretraining")
    backbone: str | None = Field(default=None, description="random:NAME, timm:NAME, file:PATH ...")
    arch: str | None = Field(default=None, description="in place of the recipe's architecture")
    detector: str | None = None
    dataset: str | None = Field(default=None, description="in place of the task's default")
    images: str | None = Field(default=None, description="a directory with a folder per class")
    train_size: int | None = Field(default=None, description="few-shot")
    resolutions: tuple[int, ...] = ()
    crop_ratios: tuple[float, ...] = ()
    cfg_options: tuple[str, ...] = Field(default=(), description="single settings, key=value")
    limit: int | None = Field(default=None, description="train on this many samples: a debug run")

    def given(self) -> dict[str, Any]:
        """The choices that differ from the defaults."""
        return self.model_dump(exclude_defaults=True)


def command(task: Task, choices: Choices) -> list[str]:
    """The words after `trickbench` that start a task with these choices."""
    given, words = choices.given(), list(task.command)
    if task.makes_backbone:
        words.append(given.pop("variant"))
    for key, value in given.items():
        values = value if isinstance(value, tuple) else (value,)
        words += [f"--{key.replace('_', '-')}", *map(str, values)]
    return words


def row_label(task: Task, choices: Choices) -> str:
    """The name of a backbone's row and directory.

    A recipe's name, with the architecture that the user chose; and, where the run makes this
    backbone, with the settings that the user changed. Or the specification as a file name.
    """
    if choices.variant is None:
        return file_name(choices.backbone or "")
    options = sorted(choices.cfg_options) if task.makes_backbone else []
    return file_name(_joined(choices.variant, choices.arch), *options)


def directory(task: Task, choices: Choices) -> str:
    """The name of a task's directory: the task, and every choice that the row does not name."""
    images = f"images-{Path(choices.images).resolve().name}" if choices.images else None
    few = None if choices.train_size is None else f"train{choices.train_size}"
    options = [] if task.makes_backbone else sorted(choices.cfg_options)
    named = _joined(task.name, choices.detector, choices.dataset, images, few)
    limit = "" if choices.limit is None else f"-limit{choices.limit}"
    return file_name(named, *options) + limit


def _joined(*words: str | None) -> str:
    return "-".join(word for word in words if word)


def of_schema_1(values: dict[str, Any]) -> dict[str, Any]:
    """The choices of a record of schema 1, which has them only in the names of its directories.

    What its task's name has beyond detector and dataset are settings of the user's own: they are
    told as one option.
    """
    stage, source = values["stage"], values["backbone"]["source"]
    recipe = source.removeprefix("recipe:")
    found: dict[str, Any] = {"variant" if recipe != source else "backbone": recipe}
    architecture = f"-{values['backbone']['architecture']}"
    if TASKS[stage].makes_backbone and recipe.endswith(architecture):
        found = {"variant": recipe.removesuffix(architecture), "arch": architecture[1:]}
    rest = values["task"].removeprefix(stage)
    rest, _, limit = rest.partition("-limit")
    if limit or (limit := values["config"].get("limit")) is not None:
        found["limit"] = int(limit)
    for detector in DETECTORS if "detector" in TASKS[stage].choices else ():
        if rest == f"-{detector}" or rest.startswith(f"-{detector}-"):
            found["detector"], rest = detector, rest.removeprefix(f"-{detector}")
    for name in (values["dataset"]["mirrors"], values["dataset"]["name"]):
        if rest == f"-{file_name(name)}":
            found["dataset"], rest = name, ""
    if views := values["config"].get("geometries"):  # of an evaluation: each with every other
        found["resolutions"] = tuple(sorted({it["resolution"] for it in views}))
        found["crop_ratios"] = tuple(sorted({it["crop_ratio"] for it in views}))
    if rest:
        found["cfg_options"] = (rest.removeprefix("-"),)
    return found
