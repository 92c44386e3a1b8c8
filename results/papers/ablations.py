"""The ablation runs of ResNet strikes back: table 6, and drop path and label smoothing.

The settings come from the published tables. A run with the unchanged settings of A1, A2 or A3 is
that recipe. Nothing here imports torch, so that tables print quickly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.files import file_name
from results.papers import published
from results.tables.paper_table import Figure

# The recipes' values of the settings that the two tables vary. A test compares them with
# configs/pretrain (tests/results/papers/test_tables.py).
DEFAULTS: dict[str, dict[str, Figure]] = {
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
    """One run: its cell in the published table, its recipe and its options."""

    table: str
    row: str
    column: str
    recipe: str
    options: tuple[str, ...]  # key=value: the differences from the recipe

    @property
    def label(self) -> str:
        """The name of its run directory."""
        return file_name(self.recipe, *sorted(self.options))


def runs() -> Iterator[Ablation]:
    """Every run of the two tables, row by row."""
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
    defaults = DEFAULTS[recipe]
    options = [f"{key}={value}" for key, value in settings.items() if defaults[key] != value]
    return Ablation(table, row, column, recipe, tuple(options))
