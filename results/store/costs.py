"""Numbers of a record that are no metrics: what the run cost, and settings that tables print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.record import Record


@dataclass(frozen=True)
class Quantity:
    """One number of a record.

    Attributes:
        of: the number, or None where the record does not have it.
        unit: as headings print it.
        of_hardware: another device has another number, so that seeds of both are not averaged.
        decimals: that a reader wants.
    """

    of: Callable[[Record], float | None]
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
    def of(record: Record) -> float | None:
        value = record.config.get(key)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    return of


QUANTITIES = {
    "params_m": Quantity(lambda it: _in(it.cost.parameters, 1e6), "M"),
    "flops_g": Quantity(lambda it: _in(it.cost.flops, 1e9), "G"),
    "images_per_s": Quantity(lambda it: it.cost.samples_per_s or None, "1/s", True, 0),
    "min_per_epoch": Quantity(_minutes_per_epoch, "min", True),
    "peak_memory_mb": Quantity(lambda it: it.cost.peak_memory_mb, "MB", True, 0),
    "hours": Quantity(lambda it: it.cost.wall_s / 3600, "h", True),
    "device_hours": Quantity(lambda it: it.cost.device_hours, "h", True, 2),
    "devices": Quantity(lambda it: it.cost.devices, "", True, 0),
    "epochs": Quantity(_setting("epochs"), "", decimals=0),
    "train_resolution": Quantity(_setting("train_resolution"), "px", decimals=0),
}


def value(record: Record, name: str) -> float | None:
    """A metric of a record, or else one of QUANTITIES; None where it has neither."""
    if name in record.metrics:
        return record.metrics[name].value
    return QUANTITIES[name].of(record) if name in QUANTITIES else None


def smaller_is_better(name: str) -> bool:
    """Of losses and costs; of accuracies and images/s a larger one is."""
    return name == "loss" or (name in QUANTITIES and name != "images_per_s")
