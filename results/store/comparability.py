"""Whether runs can be averaged: runs of one cell may differ only in their seed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.record import Record
from results.store.costs import COSTS

# A run directory ends in its seed, so paths in a config contain the seed.
_SEED_IN_PATH = re.compile(r"\bseed\d+\b")


def run_name(record: Record) -> str:
    """The run directory below the protocol's folder: "detect/best/seed0"."""
    return f"{record.task}/{record.recipe}/seed{record.seed}"


def settings(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a config as (dotted path, value), without the seed.

    Keys named `seed` are ignored at any depth, and "seed3" in a file path becomes "seed".
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
    """The test data and settings that two runs must share for a comparison of this metric."""
    aspects: dict[str, Any] = {
        "dataset": record.dataset.name,
        "dataset fingerprint": record.dataset.fingerprint[:12],
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
    """The first aspect in which two runs differ, as "split: val and test"; None without one."""
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
    if metric not in record.metrics and metric in COSTS and COSTS[metric].of_hardware:
        cost = record.cost
        aspects |= {
            "device": cost.device,
            "number of devices": cost.devices,
            "precision": cost.precision,
        }
    return aspects


def _settings_of(record: Record) -> dict[str, Any]:
    return {f"config {path}": value for path, value in settings(record.config)}


def averaging_conflict(records: Sequence[Record], metric: str, wanted: str = "%") -> str | None:
    """Why a metric of these records cannot be averaged; None if it can.

    Every record must have the metric or cost. The message names two records and the first
    difference between them.

    Args:
        wanted: the required unit of a metric.
    """
    by_seed: dict[int, Record] = {}
    for record in records:
        if metric in record.metrics and (unit := record.metrics[metric].unit) != wanted:
            return f"{run_name(record)} has {metric} in {unit!r}, expected {wanted}"
        first = records[0]
        ours, theirs = _aspects(first, metric), _aspects(record, metric)
        if record.config != first.config:
            ours, theirs = ours | _settings_of(first), theirs | _settings_of(record)
        if difference := first_difference(ours, theirs):
            return f"{run_name(first)} and {run_name(record)} differ in {difference}"
        if record.seed in by_seed:
            return f"{run_name(record)} appears twice: the same seed is not a second run"
        by_seed[record.seed] = record
    return None
