"""An index of records: a table of ten thousand records does not scan them for every cell."""

from __future__ import annotations

from collections.abc import Sequence

from core.record import Record
from results.tables.spec import RecordFilter


class Index:
    """Records of one protocol.

    Attributes:
        records: all, in the given order.
        kinds: one record of each group that no `RecordFilter` can separate, for example seeds.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = list(records)
        groups: dict[tuple[str, ...], list[Record]] = {}
        for record in records:
            groups.setdefault(_kind(record), []).append(record)
        self._groups = list(groups.values())
        self.kinds = [group[0] for group in self._groups]
        self._of_recipe: dict[str, list[int]] = {}
        for number, record in enumerate(self.kinds):
            self._of_recipe.setdefault(record.recipe, []).append(number)
        self._answers: dict[RecordFilter, frozenset[int]] = {}

    def select(self, *filters: RecordFilter) -> tuple[Record, ...]:
        """The records that match all filters, kind by kind."""
        kinds = frozenset.intersection(*(self._matching(where) for where in filters))
        return tuple(record for kind in sorted(kinds) for record in self._groups[kind])

    def _matching(self, where: RecordFilter) -> frozenset[int]:
        if where not in self._answers:
            candidates: Sequence[int] = range(len(self.kinds))
            if where.recipes and not where.sources:
                candidates = [kind for it in where.recipes for kind in self._of_recipe.get(it, ())]
            found = frozenset(kind for kind in candidates if where.matches(self.kinds[kind]))
            self._answers[where] = found
        return self._answers[where]


def _kind(record: Record) -> tuple[str, ...]:
    backbone = record.backbone
    return (
        record.stage,
        record.task,
        record.recipe,
        record.protocol,
        record.dataset.mirrors,
        backbone.architecture,
        backbone.source,
    )
