"""One run's record: its schema, its validation, its atomic writing.

A record is written once, whole, when a run has finished; tables read nothing else. No record is
ever overwritten: store.py finds every attempt at a run, and takes the newest.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TextIO

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

SCHEMA_VERSION: Final = 1
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

Stage = Literal[
    "pretrain",
    "evaluate",
    "detect",
    "segment",
    "linear",
    "linear-sgd",
    "knn",
    "finetune",
    "transferability",
]
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
    unit: Literal["%", "loss", "1", "score"]
    split: str = Field(description="the split of the data set it was measured on: val, test ...")
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

    schema_version: Literal[1] = SCHEMA_VERSION
    stage: Stage
    task: str = Field(description="the stage with its choices: detect-fpn, linear-cifar10 ...")
    recipe: str = Field(description="the row: a recipe's name, or the backbone's label")
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
    outputs: dict[str, Sha256] = Field(
        default_factory=dict,
        description="files beside the record with what was found sample by sample, and their hash",
    )
    cost: Cost
    versions: dict[str, str]
    git: Git
    started: AwareDatetime
    finished: AwareDatetime


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


TEMPORARY = ".tmp"


def file_name(*words: str) -> str:
    """Words as the name of a file or folder, in the spelling that the Makefile has too."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", " ".join(words))


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, meets the old content or the new, never a part.

    Raises:
        OSError: the disk is full or the folder cannot be written; `path` is then untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Names in a folder outlive a crash of the machine from here on."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(record: Record, path: Path) -> None:
    """Write a record as indented JSON, atomically, and over no other; see `write_beside`."""
    write_beside(path, (record.model_dump_json(indent=2) + "\n").encode())


def write_beside(path: Path, content: bytes) -> None:
    """Write a file atomically, and set another one of its name aside.

    What was at `seed0/record.json` is then at `seed0.1/record.json`, or the next number that is
    free. However many processes do this at once, each file is kept whole.

    Raises:
        OSError: the disk is full or the folder cannot be written; what was there is still there.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}{TEMPORARY}")
    try:
        write_atomically(new, content)
        while True:
            try:
                _place(new, path)
                break
            except FileExistsError:
                _set_aside(path)
        _sync(path.parent)
    finally:
        new.unlink(missing_ok=True)


def _place(new: Path, path: Path) -> None:
    """Gives a file its name.

    Raises:
        FileExistsError: another has it; a rename would have replaced that one.
    """
    try:
        os.link(new, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        # a file system without hard links: two writers in one instant would not see each other
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        os.replace(new, path)


def _set_aside(path: Path) -> None:
    """Moves a record into a folder of its own beside its run's, unless another process has."""
    run = path.parent
    attempt = 1
    while True:
        try:
            aside = run.with_name(f"{run.name}.{attempt}")
            aside.mkdir()
            break
        except FileExistsError:
            attempt += 1
    try:
        path.rename(aside / path.name)
    except FileNotFoundError:
        aside.rmdir()


def read(path: Path) -> Record:
    """Read a record, strictly.

    Raises:
        RecordError: missing, not JSON, of another schema version, or a field out of range; the
            message names the file and the field.
    """
    try:
        return Record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        problems = error.errors()
        # of another version, any other complaint would only mislead
        first = min(problems, key=lambda it: it["loc"] != ("schema_version",))
        field = ".".join(map(str, first["loc"])) or "the file"
        message = first["msg"]
        if field == "schema_version" and first["type"] != "missing":
            message = f"{first['input']!r} is unknown here; expected {SCHEMA_VERSION}"
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise RecordError(f"{path}: {field}: {message}{more}") from error


_ATTEMPT = re.compile(r"seed\d+(\.\d+)?")


def read_attempts(runs: Path, protocol: str) -> tuple[dict[Path, Record], list[str]]:
    """Every finished attempt at every run of a protocol, and what is wrong with unreadable ones.

    They lie at `runs/<protocol>/<task>/<recipe>/seed<k>/record.json`, and earlier attempts at
    `seed<k>.<n>/record.json`.

    Returns:
        Records by their files' paths, and complaints, each opening with a path.
    """
    records: dict[Path, Record] = {}
    complaints = []
    folder = os.path.join(runs, protocol)
    for run in sorted(_below(folder, depth=3)):
        path = Path(run, "record.json")
        if not _ATTEMPT.fullmatch(path.parent.name) or not path.is_file():
            continue
        try:
            record = read(path)
        except RecordError as error:
            complaints.append(str(error))
            continue
        if record.protocol != protocol:
            complaints.append(
                f"{path}: protocol: {record.protocol!r} in the folder of {protocol!r}"
            )
            continue
        records[path] = record
    return records, complaints


def _below(folder: str, depth: int) -> Iterator[str]:
    """The folders so many levels below one. pathlib's glob takes seconds for ten thousand."""
    try:
        with os.scandir(folder) as entries:
            names = [it.path for it in entries if it.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return
    if depth == 1:
        yield from names
    else:
        for name in names:
            yield from _below(name, depth - 1)


def newest(attempts: Mapping[Path, Record]) -> dict[Path, Record]:
    """The attempt at each run that finished last, in the order of the paths."""
    latest: dict[Path, Path] = {}
    for path, record in attempts.items():
        run = path.parent.with_name(path.parent.name.partition(".")[0])
        if run not in latest or attempts[latest[run]].finished <= record.finished:
            latest[run] = path
    return {path: attempts[path] for path in sorted(latest.values())}


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


def run_folder(runs: Path, protocol: str, task: str, recipe: str, seed: int) -> Path:
    """Where a run keeps its record and everything else that it makes."""
    return runs / protocol / task / recipe / f"seed{seed}"


_claims: list[TextIO] = []  # open for as long as the process lives, and so are their locks


def claim(run: Path) -> str | None:
    """Keeps other processes from working in a run's folder, until this one ends, however it ends.

    Returns:
        None, or who is at work there already.
    """
    run.parent.mkdir(parents=True, exist_ok=True)
    file = run.with_name(f".{run.name}.lock").open("a+")
    try:
        # unlike flock's, this lock is not handed down to the processes of a loader
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        file.seek(0)
        return file.read() or "another process"
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}")
    file.flush()
    _claims.append(file)
    for unfinished in run.rglob(f".*{TEMPORARY}"):  # of a process that was killed while writing
        unfinished.unlink()
    return None


def begin(
    run: Path, identity: str, product: str = "record.json"
) -> Literal["new", "resume", "finished"]:
    """Opens a run's folder for a run of this identity; nothing earned before is lost.

    Args:
        run: the run's folder, `.../seed<k>`.
        identity: a hash of everything that decides the result.
        product: the file that the run writes last.

    Returns:
        "finished" if this very run has its product already, "resume" if it was begun, else "new".
        What another identity left in the folder is set aside as `seed<k>.1`, `seed<k>.2` ...
    """
    mark = run / "identity"
    if run.exists():
        same = mark.is_file() and mark.read_text().strip() == identity
        if same:
            return "finished" if (run / product).is_file() else "resume"
        if any(run.iterdir()):
            attempt = 1
            while run.with_name(f"{run.name}.{attempt}").exists():
                attempt += 1
            run.rename(run.with_name(f"{run.name}.{attempt}"))
    write_atomically(mark, f"{identity}\n".encode())
    return "new"
