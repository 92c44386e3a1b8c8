"""Finds, compares, exports and verifies the records below a folder of runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from core import files
from core.record import Record, RecordError
from core.runs import newest, of_attempt, read_attempts
from core.tasks import TASKS
from results.store.comparability import run_name

SUMS = "SHA256SUMS"  # beside exported records; `sha256sum --check` reads it too
# What `diff` compares, in this order. Times and other costs differ between any two runs.
COMPARED = {
    "config": ("config", "chosen", "seed", "task", "recipe", "protocol", "teacher_sha256"),
    "data": ("dataset",),
    "backbone": ("backbone",),
    "versions": ("versions", "git"),
    "device": ("cost.device", "cost.devices", "cost.precision"),
    "metrics": ("metrics",),
}
VALIDATION = "-val"  # ends the name of a dataset on which settings are chosen


def protocols(runs: Path) -> list[str]:
    """The protocols with a folder below `runs`."""
    if not runs.is_dir():
        return []
    return sorted(it.name for it in runs.iterdir() if it.is_dir() and not it.name.startswith("."))


def is_debug_run(run: Record) -> bool:
    """Whether a run is excluded from all tables.

    Such a run used part of the data (LIMIT=) or a validation split for choosing settings, or is a
    downstream task on a few-shot training set (TRAIN_SIZE=) or with changed settings (OPTIONS=).
    """
    if run.choices.limit is not None or run.dataset.name.endswith(VALIDATION):
        return True
    if TASKS[run.stage].makes_backbone:
        return False
    return bool(run.choices.cfg_options) or run.choices.train_size is not None


def attempts(runs: Path, protocol: str | None = None) -> tuple[dict[Path, Record], list[str]]:
    """All attempts of all runs of one protocol, or of all protocols.

    Returns:
        Records by file, and messages about unreadable ones.

    Raises:
        RecordError: the folder or the protocol does not exist.
    """
    there = protocols(runs)
    if protocol is not None and protocol not in there:
        raise RecordError(
            f"{runs} has no protocol {protocol!r}; protocols there: {', '.join(there) or 'none'}"
        )
    found: dict[Path, Record] = {}
    complaints: list[str] = []
    for name in there if protocol is None else [protocol]:
        more, wrong = read_attempts(runs, name)
        found |= more
        complaints += wrong
    return found, complaints


def by_file(
    runs: Path, protocol: str, take: Sequence[Path] = ()
) -> tuple[dict[Path, Record], list[str]]:
    """The newest attempt of each run, without debug runs.

    Args:
        take: attempts to use instead of the newest.

    Returns:
        Records by file, and messages about skipped ones.

    Raises:
        RecordError: no such protocol, no such attempt, or no record at all.
    """
    found, skipped = attempts(runs, protocol)
    of_runs = {of_attempt(path): path for path in newest(found)}
    for wanted in take:
        path = locate(runs, wanted, found)
        of_runs[of_attempt(path)] = path
    records = {path: found[path] for path in of_runs.values() if not is_debug_run(found[path])}
    if debug := len(of_runs) - len(records):
        skipped.append(
            f"{debug} debug runs: on part of the data, on a validation split, or with changed "
            f"settings (LIMIT=, TRAIN_SIZE=, DATASET=...-val, OPTIONS=)"
        )
    if not records:
        raise RecordError("\n".join([f"no readable record in {runs / protocol}", *skipped]))
    return records, skipped


def folders(records: Mapping[Path, Record]) -> dict[str, Path]:
    """The run directory of each record, by `run_name`."""
    return {run_name(run): path.parent for path, run in records.items()}


def locate(runs: Path, name: Path, found: Mapping[Path, Record]) -> Path:
    """The record file for a name that the user typed: a file or its folder, also below `runs`.

    Raises:
        RecordError: there is no such record.
    """
    for path in (name, name / "record.json", runs / name, runs / name / "record.json"):
        if path in found:
            return path
    raise RecordError(
        f"{name}: no readable record; to list all records, run `trickbench runs list --runs {runs}`"
    )


def output(folder: Path, run: Record, name: str) -> Path | None:
    """An output file beside a run's record; None if there is none.

    Raises:
        RecordError: the file's hash is not the one in the record.
    """
    path = folder / name
    if name not in run.outputs or not path.is_file():
        return None
    if files.sha256_of(path) != run.outputs[name]:
        raise RecordError(
            f"{path}: its hash is not the one in the record; check with `trickbench runs verify`"
        )
    return path


def fields(run: Record) -> dict[str, Any]:
    """All fields of a record by dotted name: "config.lr", "metrics.top1.value" ..."""
    return dict(_leaves(run.model_dump(mode="json"), ""))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def select(
    found: Mapping[Path, Record], conditions: Sequence[str] = (), every: bool = False
) -> dict[Path, Record]:
    """The records that match all conditions: the newest attempt of each run, or every attempt.

    Args:
        conditions: `FIELD=PATTERN`, a name of `fields` and an `fnmatch` pattern.

    Raises:
        RecordError: a condition is malformed.
    """
    pairs = [condition.partition("=") for condition in conditions]
    for key, equals, _ in pairs:
        if not (key and equals):
            raise RecordError(f"{key!r}: expected FIELD=PATTERN, for example task=detect*")
    chosen = {}
    for path, run in (found if every else newest(found)).items():
        values = fields(run) if pairs else {}
        if all(fnmatchcase(str(values.get(key)), pattern) for key, _, pattern in pairs):
            chosen[path] = run
    return chosen


def listing(runs: Path, chosen: Mapping[Path, Record]) -> list[list[str]]:
    """One line for each record: directory, finishing time, metrics, device-hours and commit."""
    lines = [["run", "finished", "metrics", "device-hours", "commit"]]
    for path, run in chosen.items():
        metrics = [f"{name} {it.value:.2f}" for name, it in run.metrics.items() if "@" not in name]
        commit = (run.git.commit or "unknown")[:8] + ("+" if run.git.clean is False else "")
        lines.append(
            [
                str(path.parent.relative_to(runs)),
                run.finished.strftime("%Y-%m-%d %H:%M"),
                ", ".join(metrics[:4]) or f"{len(run.metrics)} metrics",
                f"{run.cost.device_hours:.2f}",
                commit,
            ]
        )
    return lines


def difference(one: Record, other: Record) -> list[list[str]]:
    """The differences between two runs: lines of (kind, field, first value, second value)."""
    left, right = fields(one), fields(other)
    lines = []
    for kind, prefixes in COMPARED.items():
        for key in dict.fromkeys([*left, *right]):
            if not any(key == it or key.startswith(f"{it}.") for it in prefixes):
                continue
            values = left.get(key, "not set"), right.get(key, "not set")
            if values[0] != values[1]:
                lines.append([kind, key, *map(str, values)])
    return lines


def export(runs: Path, chosen: Mapping[Path, Record], out: Path) -> list[Path]:
    """Copies records byte for byte, with their output files and the records of their backbones.

    The output files make it possible to compute intervals from the copies. Weights are not copied.
    `out` becomes a folder of runs, with the SHA-256 of every record in `SHA256SUMS`.

    Returns:
        The files of the records that were written; identical copies are not written again.

    Raises:
        RecordError: the hash of an output file is not the one in the record.
        OSError: the folder cannot be written.
    """
    everything, _ = attempts(runs)
    by_hash = {files.sha256_of(path): path for path in everything}
    wanted = dict.fromkeys(chosen)
    for run in chosen.values():
        if (parent := by_hash.get(run.backbone.record_sha256 or "")) is not None:
            wanted.setdefault(parent)
    written = []
    for path in wanted:
        copy, content = out / path.relative_to(runs), path.read_bytes()
        if not (copy.is_file() and copy.read_bytes() == content):
            files.write_beside(copy, content)
            written.append(copy)
        run = everything[path]
        for name in run.outputs:
            if (kept := output(path.parent, run, name)) is not None:
                files.write_atomically(copy.with_name(name), kept.read_bytes())
    there = sorted(out.glob("*/*/*/*/record.json"))
    sums = "".join(f"{files.sha256_of(path)}  {path.relative_to(out)}\n" for path in there)
    files.write_atomically(out / SUMS, sums.encode())
    return written
