"""May these runs be averaged? Runs of one cell may differ in their seed and in nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.record import Record
from results.store.costs import QUANTITIES

# A run's folder ends in its seed, so its own paths, and its checkpoint's, name the seed.
_SEED_IN_PATH = re.compile(r"\bseed\d+\b")


def run_name(record: Record) -> str:
    """Where the record lies below the protocol's folder: "detect/best/seed0"."""
    return f"{record.task}/{record.recipe}/seed{record.seed}"


def settings(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """A config's leaves as (dotted path, value), without its seed.

    Keys named `seed` are left out at any depth, and "seed3" in a path of files reads "seed".
    """
    if isinstance(config, dict):
        pairs = [(key, value) for key, value in config.items() if key != "seed"]
    elif isinstance(config, list | tuple):
        pairs = list(enumerate(config))
    else:
        yield path, _SEED_IN_PATH.sub("seed", config) if isinstance(config, str) else config
        return
    if not pairs:
        yield path, "empty"
    for key, value in pairs:
        yield from settings(value, f"{path}.{key}" if path else str(key))


def measured_on(record: Record, metric: str) -> dict[str, Any]:
    """What a metric, or a quantity, of two runs must share to be of the same test."""
    aspects: dict[str, Any] = {
        "data set": record.dataset.name,
        "data set fingerprint": record.dataset.fingerprint[:12],
    }
    if metric in record.metrics:
        measured = record.metrics[metric]
        aspects |= {
            "split": measured.split,
            "number of samples": measured.samples,
            "metric detail": measured.detail,
        }
    return aspects


def first_difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
    """As "split: val and test", of the first aspect in which two runs differ; None if in none."""
    for aspect in {**ours, **theirs}:
        values = ours.get(aspect, "not set"), theirs.get(aspect, "not set")
        if values[0] != values[1]:
            return f"{aspect}: {values[0]} and {values[1]}"
    return None


def _aspects(record: Record, metric: str) -> dict[str, Any]:
    aspects = {
        "task": record.task,
        "recipe": record.recipe,
        **measured_on(record, metric),
    }
    if metric not in record.metrics and metric in QUANTITIES and QUANTITIES[metric].of_hardware:
        cost = record.cost
        aspects |= {
            "device": cost.device,
            "number of devices": cost.devices,
            "precision": cost.precision,
        }
    return aspects


def _settings_of(record: Record) -> dict[str, Any]:
    return {f"config {path}": value for path, value in settings(record.config)}


def disagreement(records: Sequence[Record], metric: str, wanted: str = "%") -> str | None:
    """Why a metric of these records must not be averaged, naming two of them; None if it may.

    Every record must have the metric, or the quantity. The first difference found is told.

    Args:
        wanted: the unit that a metric must be in.
    """
    by_seed: dict[int, Record] = {}
    for record in records:
        if metric in record.metrics and (unit := record.metrics[metric].unit) != wanted:
            return f"{run_name(record)} has {metric} in {unit!r}, and the table is in {wanted}"
        first = records[0]
        ours, theirs = _aspects(first, metric), _aspects(record, metric)
        if record.config != first.config:
            ours, theirs = ours | _settings_of(first), theirs | _settings_of(record)
        if difference := first_difference(ours, theirs):
            return f"{run_name(first)} and {run_name(record)} differ in {difference}"
        if record.seed in by_seed:
            return f"{run_name(record)} was handed over twice: the same seed is not a second run"
        by_seed[record.seed] = record
    return None
