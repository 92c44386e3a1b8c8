"""A table as a paper prints it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

# Accuracies are numbers; an ablation also prints the setting that varies (a loss, on or off).
Figure = int | float | bool | str | None


class PublishedTable(BaseModel):
    """One table of a paper. A value is None where the paper prints a dash."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    caption: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[Figure, ...]]

    @model_validator(mode="before")
    @classmethod
    def _number_unnamed_rows(cls, table: Any) -> Any:
        """Name the rows of a table that prints no names "1", "2", ..."""
        if isinstance(table, dict) and isinstance(table.get("rows"), list):
            numbered = {str(number): row for number, row in enumerate(table["rows"], start=1)}
            return {**table, "rows": numbered}
        return table

    @model_validator(mode="after")
    def _one_figure_per_column(self) -> PublishedTable:
        if len(set(self.columns)) != len(self.columns):
            raise ValueError(f"a column is named twice: {list(self.columns)}")
        for row, figures in self.rows.items():
            if len(figures) != len(self.columns):
                raise ValueError(
                    f"row {row!r} has {len(figures)} values, expected one for each of the "
                    f"{len(self.columns)} columns"
                )
        return self

    def figure(self, row: str, column: str) -> Figure:
        """The value in a row and a column.

        Raises:
            KeyError: the table has no such row or column; the message lists the existing ones.
        """
        if row not in self.rows:
            raise KeyError(f"no row {row!r} among {list(self.rows)}")
        if column not in self.columns:
            raise KeyError(f"no column {column!r} among {list(self.columns)}")
        return self.rows[row][self.columns.index(column)]


Published = Mapping[str, PublishedTable]  # by paper and number: "bag-of-tricks/8"
