"""Whether records, the files beside them and SHA256SUMS still say the same."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from core import files
from core.metrics.statistic import PerImage, value
from core.record import Record
from core.runs import of_attempt
from core.tasks import TASKS, KeptFile
from results.store.comparability import run_name
from results.store.query import SUMS

DAMAGED = (ValueError, KeyError, IndexError, EOFError, OSError, zipfile.BadZipFile, zlib.error)
ROUNDING = 1e-3  # percent; metrics may have been summed in float32


def verify(
    runs: Path, chosen: Mapping[Path, Record], found: Mapping[Path, Record]
) -> tuple[list[str], list[str]]:
    """Recomputes every hash in the records, and every metric from its per-image file.

    For each record: its directory, its output files and the metrics that follow from them, the
    weights and the record hash inside them, the records of its backbone and its teacher, and its
    line in SHA256SUMS, where there is one.

    Args:
        found: all records below `runs`, to look up backbones and teachers.

    Returns:
        Messages about what is wrong, and about missing files; each starts with a path.
    """
    by_hash = {files.sha256_of(path): path for path in found}
    trained = {run.backbone.sha256 for run in found.values() if TASKS[run.stage].makes_backbone}
    wrong, absent = list(_wrong_sums(runs, found)), []
    for path, run in chosen.items():
        wrong += _wrong_directory(path, run)
        for name, expected in run.outputs.items():
            output = path.parent / name
            if not output.is_file():
                absent.append(f"{output}: missing")
            elif (actual := files.sha256_of(output)) != expected:
                wrong.append(f"{output}: {actual[:12]}, the record has {expected[:12]}")
        wrong += _wrong_metrics(path, run)
        weights = path.parent / "backbone.safetensors"
        if TASKS[run.stage].makes_backbone:
            if weights.is_file():
                wrong += _wrong_weights(weights, run, files.sha256_of(path))
            else:
                absent.append(f"{weights}: missing")
        elif (parent := run.backbone.record_sha256) is not None:
            if parent not in by_hash:
                absent.append(f"{path}: its backbone's record {parent[:12]} is missing")
            elif found[by_hash[parent]].backbone.sha256 != run.backbone.sha256:
                wrong.append(f"{path}: its weights are not those of {by_hash[parent]}")
        if (teacher := run.teacher_sha256) is not None and teacher not in trained:
            absent.append(f"{path}: the record of its teacher's weights {teacher[:12]} is missing")
    return wrong, absent


def _wrong_sums(runs: Path, found: Mapping[Path, Record]) -> Iterator[str]:
    """Where SHA256SUMS, if there is one, and the records below a folder differ."""
    sums = runs / SUMS
    if not sums.is_file():
        return
    listed: dict[Path, str] = {}
    for number, line in enumerate(sums.read_bytes().decode(errors="replace").splitlines(), 1):
        stated, _, name = line.partition("  ")
        if len(stated) != 64 or not name or runs / name in listed:
            yield f"{sums}: line {number}: expected a SHA-256, two spaces and a new path: {line!r}"
        listed[runs / name] = stated
    for path, stated in listed.items():
        if not path.is_file():
            yield f"{path}: listed in {SUMS}, but missing"
        elif (actual := files.sha256_of(path)) != stated:
            yield f"{path}: {SUMS} has {stated[:12]}, the file has {actual[:12]}"
    for path in found.keys() - listed.keys():
        yield f"{path}: not listed in {SUMS}: added later?"


def _wrong_directory(path: Path, run: Record) -> Iterator[str]:
    """A record that lies in the directory of another run: moved, copied or swapped."""
    if of_attempt(path).parts[-3:] != tuple(run_name(run).split("/")):
        yield f"{path}: the record is of {run_name(run)}"


def _wrong_metrics(path: Path, run: Record) -> Iterator[str]:
    """The metrics that do not follow from the per-image file that the record names."""
    loaded: dict[KeptFile, PerImage] = {}
    for name, measured in run.metrics.items():
        declared = TASKS[run.stage].metrics.get(name)
        kept = None if declared is None else declared.kept_in
        if declared is None or kept is None or kept.name not in run.outputs:
            continue
        if not (file := path.with_name(kept.name)).is_file():
            continue
        try:
            if kept not in loaded:
                loaded[kept] = kept.load(file)
            results = loaded[kept]
            images = len(results.images)
            again = value(results.statistics()[declared.statistic or name], images)
        except DAMAGED as error:
            yield f"{file}: not readable as {kept.name} with {name} ({error})"
            continue
        if images != measured.samples:
            yield f"{file}: {images} images, the record has {measured.samples}"
        elif abs(again - measured.value) > ROUNDING:
            yield f"{file}: {name} {again:.4f}, the record has {measured.value:.4f}"


def _wrong_weights(weights: Path, run: Record, record_sha256: str) -> list[str]:
    # importing torch takes seconds, and only this function needs it
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
        wrong.append(
            f"{weights}: names the record {stated}, the record beside it is {record_sha256[:12]}"
        )
    return wrong
