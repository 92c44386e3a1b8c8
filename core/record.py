"""One run's record: its schema, its validation, its atomic writing.

A record is written once, whole, when a run has finished; tables read nothing else. No record is
ever overwritten: `core.runs` finds every attempt at a run, and takes the newest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from core.choices import Choices, of_schema_1
from core.files import write_beside
from core.tasks import TASKS, Unit

SCHEMA_VERSION: Final = 2
PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "pillow",
    "safetensors",
    "onedl-mmengine",
    "onedl-mmcv",
    "onedl-mmdetection",
    "onedl-mmsegmentation",
)


def _declared(stage: str) -> str:
    if stage not in TASKS:
        raise ValueError(f"unknown task; there are {', '.join(TASKS)}")
    return stage


Stage = Annotated[str, AfterValidator(_declared)]
# of a file beside the record: no path, not ".."
FileName = Annotated[str, Field(pattern=r"^[^/\\]*[^/\\.][^/\\]*$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RecordError(Exception):
    """A record that cannot be read or written; the message names the file and the reason."""


class _Strict(BaseModel):
    # A config may hold an infinity, which JSON cannot; the default would write it as null.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


# What a unit's values lie between; rounding may take a percentage a hair beyond 100.
RANGES: Final = {"%": (0.0, 100.0 + 1e-9), "1": (0.0, 1.0 + 1e-9)}


class Metric(_Strict):
    """One number, and what it was measured on."""

    value: Finite
    unit: Unit
    split: str = Field(description="the split of the dataset it was measured on: val, test ...")
    samples: Annotated[int, Field(ge=1)]
    detail: str = Field(default="", description="how: '11-point AP at IoU 0.5', 'last epoch' ...")

    @model_validator(mode="after")
    def _within_its_units_range(self) -> Metric:
        low, high = RANGES.get(self.unit, (float("-inf"), float("inf")))
        if not low <= self.value <= high:
            raise ValueError(f"{self.value} is not within {low:g} to {high:g}, unit {self.unit!r}")
        return self


class Dataset(_Strict):
    """The data a run read."""

    name: str = Field(description="its own name: a file of configs/data")
    mirrors: str = Field(description="the set of the papers in whose place it stands")
    fingerprint: Sha256 = Field(description="of the names and sizes of its files, and its labels")
    sizes: dict[str, int] = Field(description="samples read, by split")
    classes: Annotated[int, Field(ge=1)]


class Backbone(_Strict):
    """The weights that a run started from; a pretraining run records what it ended with."""

    source: str = Field(description="recipe:best, random:resnet50d, file:..., timm:...")
    architecture: str
    pretrained: bool
    sha256: Sha256 = Field(description="of the tensors: names, shapes, types and bytes")
    sha256_in_model: Sha256 | None = Field(
        default=None,
        description="of the backbone's tensors as they stood in the task's model before its first "
        "step: the file's without those left out",
    )
    tensors_loaded: Annotated[int, Field(ge=0)] = 0
    tensors_left_out: list[str] = Field(default_factory=list)
    record_sha256: Sha256 | None = Field(
        default=None, description="of the pretraining record that the weights came from"
    )


class Cost(_Strict):
    """What the run took.

    `samples_per_s` is of training, or, for a linear probe, of extracting features; 0 where the
    features were there already.
    """

    wall_s: Annotated[Finite, Field(ge=0)]
    samples_per_s: Annotated[Finite, Field(ge=0)]
    peak_memory_mb: Annotated[Finite, Field(ge=0)]
    device: str
    devices: Annotated[int, Field(ge=1)]
    precision: str
    device_hours: Annotated[Finite, Field(ge=0)]
    parameters: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="of the whole network with its classifier"
    )
    flops: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="multiply-adds for one image at the resolution of the evaluation"
    )


class Git(_Strict):
    commit: str | None
    clean: bool | None


class Record(_Strict):
    """One run."""

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    stage: Stage = Field(description="the task: a name of core.tasks.TASKS")
    task: str = Field(description="the task with its choices: detect-fpn, linear-cifar10 ...")
    recipe: str = Field(description="the row: a recipe's name, or the backbone's label")
    choices: Choices = Field(description="what the user chose, as data; schema 1 had names alone")
    argv: list[str] = Field(default_factory=list, description="the command's words, as typed")
    protocol: str
    seed: int
    dataset: Dataset
    backbone: Backbone
    teacher_sha256: Sha256 | None = Field(default=None, description="weights it distilled from")
    metrics: dict[str, Metric]
    config: dict[str, Any]
    chosen: dict[str, Any] = Field(
        default_factory=dict,
        description="what the run chose on held-out data, and its scores there",
    )
    outputs: dict[FileName, Sha256] = Field(
        default_factory=dict,
        description="files beside the record, and their hash: what was found, sample by sample ...",
    )
    cost: Cost
    versions: dict[str, str]
    git: Git
    started: AwareDatetime
    finished: AwareDatetime

    @model_validator(mode="before")
    @classmethod
    def _choices_of_schema_1(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("schema_version") == 1:
            with contextlib.suppress(KeyError, TypeError, AttributeError):  # the fields complain
                return values | {"choices": of_schema_1(values)}
        return values


def write(record: Record, path: Path) -> None:
    """Write a record as indented JSON with a checksum, atomically, and over no other.

    See `write_beside`.
    """
    document = json.loads(record.model_dump_json())
    document["checksum"] = _checksum(document)
    write_beside(path, (json.dumps(document, indent=2) + "\n").encode())


def _checksum(document: dict[str, Any]) -> str:
    """SHA-256 of a record's JSON, whatever its layout."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _apart(content: bytes) -> tuple[bytes, str | None, str]:
    """A record's JSON without its checksum, the checksum, and what it should be.

    Records of schema 1 have none.
    """
    try:
        document = json.loads(content)
    except ValueError:
        return content, None, ""  # whoever validates it says what is wrong
    if not isinstance(document, dict) or "checksum" not in document:
        return content, None, ""
    stated = document.pop("checksum")
    return json.dumps(document).encode(), stated, _checksum(document)


def read(path: Path) -> Record:
    """Read a record, strictly.

    Raises:
        RecordError: missing, not JSON, of another schema version, or a field out of range; the
            message names the file and the field.
    """
    try:
        content, stated, actual = _apart(path.read_bytes())
        record = Record.model_validate_json(content)
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        problems = error.errors()
        # of another version, any other complaint would only mislead
        first = min(problems, key=lambda it: it["loc"] != ("schema_version",))
        field = ".".join(map(str, first["loc"])) or "the file"
        message = first["msg"]
        if field == "schema_version" and first["type"] != "missing":
            message = f"{first['input']!r} is unknown here; expected 1 or {SCHEMA_VERSION}"
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise RecordError(f"{path}: {field}: {message}{more}") from error
    if stated is not None and stated != actual:
        raise RecordError(f"{path}: damaged: the checksum in it is not that of its content")
    return record


def versions() -> dict[str, str]:
    """Versions of Python and of every package that can move a result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_state(folder: Path) -> Git:
    """The commit checked out in `folder`, and whether the tree is clean; None outside git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        return Git(commit=git("rev-parse", "HEAD"), clean=git("status", "--porcelain") == "")
    except (OSError, subprocess.CalledProcessError):
        return Git(commit=None, clean=None)
