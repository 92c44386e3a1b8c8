"""Costs of a run (time, memory, model size) and two of its settings, as table columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.record import Record


@dataclass(frozen=True)
class CostField:
    """One cost.

    Attributes:
        read: its value in a record; None if the record does not have it.
        unit: for headings.
        of_hardware: whether it depends on the device. Then runs on different devices are not
            averaged.
        decimals: printed digits.
    """

    read: Callable[[Record], float | None]
    unit: str
    of_hardware: bool = False
    decimals: int = 1


def _in(value: int | None, unit: float) -> float | None:
    return None if value is None else value / unit


def _minutes_per_epoch(record: Record) -> float | None:
    samples = record.dataset.sizes.get("train")
    if not samples or not record.cost.samples_per_s:
        return None
    return samples / record.cost.samples_per_s / 60


def _setting(key: str) -> Callable[[Record], float | None]:
    def read(record: Record) -> float | None:
        value = record.config.get(key)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    return read


COSTS = {
    "params_m": CostField(lambda it: _in(it.cost.parameters, 1e6), "M"),
    "flops_g": CostField(lambda it: _in(it.cost.flops, 1e9), "G"),
    "images_per_s": CostField(lambda it: it.cost.samples_per_s or None, "1/s", True, 0),
    "min_per_epoch": CostField(_minutes_per_epoch, "min", True),
    "peak_memory_mb": CostField(lambda it: it.cost.peak_memory_mb, "MB", True, 0),
    "hours": CostField(lambda it: it.cost.wall_s / 3600, "h", True),
    "device_hours": CostField(lambda it: it.cost.device_hours, "h", True, 2),
    "devices": CostField(lambda it: it.cost.devices, "", True, 0),
    "epochs": CostField(_setting("epochs"), "", decimals=0),
    "train_resolution": CostField(_setting("train_resolution"), "px", decimals=0),
}


def value(record: Record, name: str) -> float | None:
    """A metric or a cost of a record; None if it has neither."""
    if name in record.metrics:
        return record.metrics[name].value
    return COSTS[name].read(record) if name in COSTS else None


def smaller_is_better(name: str) -> bool:
    """True for losses and costs; false for accuracies and images/s."""
    return name == "loss" or (name in COSTS and name != "images_per_s")
