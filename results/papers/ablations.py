"""Strikes Back's runs that change settings of A1, A2 or A3: table 6, and drop path and smoothing.

Settings are read off the published tables; where they are those of a recipe, the run is that
recipe. Nothing here needs torch, so that tables stay quick.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.files import file_name
from results.papers import published
from results.tables.paper_table import Figure

# What the recipes of configs/pretrain have of the settings that the two tables vary
# (tests/results/papers/test_tables.py compares).
OWN: dict[str, dict[str, Figure]] = {
    "a1": {"drop_path": 0.05, "label_smoothing": 0.1},
    "a2": {
        "loss": "bce",
        "lr": 5e-3,
        "weight_decay": 0.02,
        "repeats": 3,
        "drop_path": 0.05,
        "label_smoothing": 0.0,
    },
    "a3": {"drop_path": 0.0, "label_smoothing": 0.0},
}


@dataclass(frozen=True)
class Ablation:
    """One run: the cell of its table that shows it, and how it is trained."""

    table: str
    row: str
    column: str
    recipe: str
    options: tuple[str, ...]  # key=value, what differs from the recipe

    @property
    def label(self) -> str:
        """The name of its folder."""
        return file_name(self.recipe, *sorted(self.options))


def runs() -> Iterator[Ablation]:
    """Every run of the two tables, in their order, row by row."""
    figures = published.load()
    for row, (loss, lr, decay, repeated, _) in figures["strikes-back/6"].rows.items():
        settings = {
            "loss": str(loss).lower(),
            "lr": lr,
            "weight_decay": decay,
            "repeats": 3 if repeated else 1,
        }
        yield _ablation("strikes-back/6", row, "top1", "a2", settings)
    switched = figures["strikes-back/drop-smoothing"]
    for row in switched.rows:
        kind, value = row.split()
        key = "drop_path" if kind == "drop" else "label_smoothing"
        number = {"on": 0.1, "off": 0.0}[value] if kind == "smoothing" else float(value)
        for recipe in switched.columns:
            yield _ablation("strikes-back/drop-smoothing", row, recipe, recipe, {key: number})


def _ablation(
    table: str, row: str, column: str, recipe: str, settings: dict[str, Figure]
) -> Ablation:
    own = OWN[recipe]
    options = [f"{key}={value}" for key, value in settings.items() if own[key] != value]
    return Ablation(table, row, column, recipe, tuple(options))
