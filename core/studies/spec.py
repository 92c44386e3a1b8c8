"""The study file: backbones x tasks x seeds under one protocol, in YAML."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from core import configs
from core.choices import Choices
from core.errors import InputError, unknown
from core.execution import Run
from core.tasks import TASKS


class TaskChoices(Choices):
    """A task of a study with its choices: `detect`, or `{task: detect, dataset: bccd}`."""

    task: str

    @field_validator("task")
    @classmethod
    def _declared(cls, task: str) -> str:
        if task not in TASKS:
            raise ValueError(str(unknown("task", task, TASKS)))
        return task


class Study(BaseModel):
    """A study.

    Attributes:
        backbones: names of recipes, or specifications ("random:resnet50d").
        jobs: runs at a time; None: as many as there are cores.
        threads: of each run on a CPU.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: str
    backbones: list[str] = Field(min_length=1)
    tasks: list[TaskChoices]
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = [0]
    jobs: Annotated[int, Field(ge=1)] | None = None
    threads: Annotated[int, Field(ge=1)] | None = None

    @field_validator("tasks", mode="before")
    @classmethod
    def _names_alone(cls, tasks: Any) -> Any:
        if not isinstance(tasks, list):
            return tasks  # pydantic complains
        return [{"task": it} if isinstance(it, str) else it for it in tasks]


def read(name: str) -> Study:
    """A study by its name in configs/study, or by the path of its file.

    Raises:
        InputError: there is no such file, or it is no study; the message names the field.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        known = sorted(it.stem for it in (configs.CONFIGS / "study").glob("*.yaml"))
        if name not in known:
            raise unknown("study", name, known)
        path = configs.CONFIGS / "study" / f"{name}.yaml"
    try:
        return Study.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"{path}: {field}: {first['msg']}") from error


def runs(study: Study, folder: Path, data: Path) -> Iterator[Run]:
    """Every run of a study, seed by seed, backbone by backbone."""
    for seed in study.seeds:
        for backbone in study.backbones:
            named = {"backbone" if ":" in backbone else "variant": backbone}
            for it in study.tasks:
                chosen = Choices(**it.model_dump(exclude={"task"}, exclude_defaults=True) | named)
                task = TASKS[it.task]
                yield Run(task, chosen, study.protocol, seed, folder, data)
