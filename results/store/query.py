"""Finding, comparing, publishing and verifying the records below a folder of runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from core import files
from core.record import Record, RecordError
from core.runs import newest, read_attempts
from core.tasks import TASKS
from results.store.comparability import run_name

SUMS = "SHA256SUMS"  # beside exported records; `sha256sum --check` reads it too
# What `diff` compares, in this order; times and the rest of the cost differ between any two runs.
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
    """The protocols that have a folder below `runs`."""
    if not runs.is_dir():
        return []
    return sorted(it.name for it in runs.iterdir() if it.is_dir() and not it.name.startswith("."))


def is_debug_run(run: Record) -> bool:
    """Whether no table has a column for a run.

    It was trained or tested on part of the data (LIMIT=), or it was a downstream task on a few-shot
    training set, with settings of the user's own, or on a validation part, to choose these on.
    """
    if run.choices.limit is not None or run.dataset.name.endswith(VALIDATION):
        return True
    if TASKS[run.stage].makes_backbone:
        return False
    return bool(run.choices.cfg_options) or run.choices.train_size is not None


def attempts(runs: Path, protocol: str | None = None) -> tuple[dict[Path, Record], list[str]]:
    """Every attempt at every run, of one protocol or of all, and complaints about unreadable ones.

    Raises:
        RecordError: there is no such folder, or no such protocol in it.
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
    """The newest attempt at each run, and no debug runs.

    Args:
        take: attempts to take in place of the newest.

    Returns:
        Records by their files, and complaints about what was skipped.

    Raises:
        RecordError: no such protocol, no such attempt, or no record at all.
    """
    found, skipped = attempts(runs, protocol)
    of_runs = {_run(path): path for path in newest(found)}
    for wanted in take:
        path = locate(runs, wanted, found)
        of_runs[_run(path)] = path
    records = {path: found[path] for path in of_runs.values() if not is_debug_run(found[path])}
    if debug := len(of_runs) - len(records):
        skipped.append(
            f"{debug} debug runs: on part of the training data, on a validation part, or with "
            f"settings of their own (LIMIT=, TRAIN_SIZE=, DATASET=...-val, OPTIONS=)"
        )
    if not records:
        raise RecordError("\n".join([f"no readable record in {runs / protocol}", *skipped]))
    return records, skipped


def folders(records: Mapping[Path, Record]) -> dict[str, Path]:
    """The folder of each record by `run_name`, where what it keeps by image lies."""
    return {run_name(run): path.parent for path, run in records.items()}


def _run(path: Path) -> Path:
    """The run that a record's file is an attempt at."""
    return path.parent.with_name(path.parent.name.partition(".")[0])


def locate(runs: Path, name: Path, found: Mapping[Path, Record]) -> Path:
    """The file of a record that the user names: the file, its folder, or either below `runs`.

    Raises:
        RecordError: there is none.
    """
    for path in (name, name / "record.json", runs / name, runs / name / "record.json"):
        if path in found:
            return path
    raise RecordError(f"{name}: no readable record; `trickbench runs list` names those in {runs}")


def output(folder: Path, run: Record, name: str) -> Path | None:
    """A file that a run keeps beside its record; None where it has none.

    Raises:
        RecordError: the file is not the one whose hash the record has.
    """
    path = folder / name
    if name not in run.outputs or not path.is_file():
        return None
    if files.sha256_of(path) != run.outputs[name]:
        raise RecordError(f"{path}: not the file that the record names; `trickbench runs verify`")
    return path


def fields(run: Record) -> dict[str, Any]:
    """Everything in a record by dotted names: "config.lr", "metrics.top1.value" ..."""
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
    """The records that fulfil all conditions; of each run the newest attempt, or every.

    Args:
        conditions: `FIELD=PATTERN`, a name of `fields` and a pattern of `fnmatch`.

    Raises:
        RecordError: a condition of another form.
    """
    pairs = [condition.partition("=") for condition in conditions]
    for key, equals, _ in pairs:
        if not (key and equals):
            raise RecordError(f"{key!r} is not of the form FIELD=PATTERN, for example task=detect*")
    chosen = {}
    for path, run in (found if every else newest(found)).items():
        values = fields(run) if pairs else {}
        if all(fnmatchcase(str(values.get(key)), pattern) for key, _, pattern in pairs):
            chosen[path] = run
    return chosen


def listing(runs: Path, chosen: Mapping[Path, Record]) -> list[list[str]]:
    """A line for each record: its folder, when it finished, what it measured, what it cost."""
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
    """What two runs differ in: lines of (kind, field, first value, second value)."""
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
    """Copies records, byte for byte, and the records of the backbones that they name.

    With each go the files that it lists, so that intervals can be computed from the copies; weights
    stay. `out` is then a folder of runs itself, with the SHA-256 of every record in `SHA256SUMS`.

    Returns:
        The records that were written; one that is there already is not written again.

    Raises:
        RecordError: a file beside a record is not the one that the record names.
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


def verify(
    runs: Path, chosen: Mapping[Path, Record], found: Mapping[Path, Record]
) -> tuple[list[str], list[str]]:
    """Computes every hash that records state again.

    Of each record: the files that it lists, the weights beside it and the hash of the record in
    them, the backbone's and the teacher's record that it names, and its line in SHA256SUMS.

    Args:
        found: all records below `runs`, among which those that others name are looked for.

    Returns:
        What is wrong, and what cannot be verified, for it is not here; each opens with a path.
    """
    by_hash = {files.sha256_of(path): path for path in found}
    trained = {run.backbone.sha256 for run in found.values() if TASKS[run.stage].makes_backbone}
    sums = _sums(runs)
    wrong, absent = [], []
    for path, run in chosen.items():
        mine = files.sha256_of(path)
        if (stated := sums.get(path, mine)) != mine:
            wrong.append(f"{path}: {SUMS} has {stated[:12]}, the file {mine[:12]}")
        for name, expected in run.outputs.items():
            output = path.parent / name
            if not output.is_file():
                absent.append(f"{output}: not here")
            elif (actual := files.sha256_of(output)) != expected:
                wrong.append(f"{output}: {actual[:12]}, the record has {expected[:12]}")
        weights = path.parent / "backbone.safetensors"
        if TASKS[run.stage].makes_backbone:
            if weights.is_file():
                wrong += _wrong_weights(weights, run, mine)
            else:
                absent.append(f"{weights}: not here")
        elif (parent := run.backbone.record_sha256) is not None:
            if parent not in by_hash:
                absent.append(f"{path}: its backbone's record {parent[:12]} is not here")
            elif found[by_hash[parent]].backbone.sha256 != run.backbone.sha256:
                wrong.append(f"{path}: other weights than those of {by_hash[parent]}")
        if (teacher := run.teacher_sha256) is not None and teacher not in trained:
            absent.append(f"{path}: the record of its teacher's weights {teacher[:12]} is not here")
    return wrong, absent


def _sums(runs: Path) -> dict[Path, str]:
    if not (runs / SUMS).is_file():
        return {}
    lines = (line.partition("  ") for line in (runs / SUMS).read_text().splitlines())
    return {runs / name: stated for stated, _, name in lines}


def _wrong_weights(weights: Path, run: Record, record_sha256: str) -> list[str]:
    # torch takes seconds to import, and only this needs it
    from core import exchange
    from core.errors import InputError

    try:
        tensors, about = exchange.load_exchange(weights)
    except InputError as error:
        return [str(error)]
    wrong = []
    if (actual := exchange.weights_sha256(tensors)) != run.backbone.sha256:
        wrong.append(f"{weights}: {actual[:12]}, the record has {run.backbone.sha256[:12]}")
    if about.record_sha256 != record_sha256:
        stated = about.record_sha256[:12] or "none"
        wrong.append(f"{weights}: names the record {stated}, beside it is {record_sha256[:12]}")
    return wrong
