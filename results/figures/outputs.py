"""Files that runs keep beside their records, as figures read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from core.record import Record, RecordError
from core.selection import evenly
from results.figures.drawing import NothingMeasuredError
from results.stats.per_image import DAMAGED
from results.store import query
from results.tables.spec import PAPER_RECIPES

BACKBONES = 5  # side by side

T = TypeVar("T")


def of_same_data(
    records: Mapping[Path, Record], stage: str, kept: str
) -> dict[str, tuple[Path, Record]]:
    """One run of each backbone that kept such a file, all on the same data.

    Of several data sets and tasks the one with most backbones, and the lowest seed of each. In
    the papers' order; of many, some evenly over it, the first and the last among them.

    Args:
        kept: a file's name beside the record.

    Raises:
        NothingMeasuredError: no run of the stage has one.
    """
    groups: dict[tuple[str, str], dict[str, tuple[Path, Record]]] = {}
    for path, run in sorted(records.items(), key=lambda it: (it[1].seed, it[0])):
        if run.stage == stage and path.with_name(kept).is_file():
            group = groups.setdefault((run.task, run.dataset.fingerprint), {})
            group.setdefault(run.recipe, (path, run))
    if not groups:
        raise NothingMeasuredError(f"no run of the stage {stage} has kept its {kept}")
    group = max(groups.values(), key=len)
    return {name: group[name] for name in evenly(sorted(group, key=paper_order), BACKBONES)}


def paper_order(recipe: str) -> tuple[int, str]:
    """A key that sorts recipes as the papers list them, and others behind them by name."""
    place = PAPER_RECIPES.index(recipe) if recipe in PAPER_RECIPES else len(PAPER_RECIPES)
    return place, recipe


def read(path: Path, run: Record, name: str, load: Callable[[Path], T]) -> T:
    """What a run has kept in a file beside its record.

    Args:
        path: of the record.

    Raises:
        NothingMeasuredError: there is no such file, it is not the record's, or damaged.
    """
    try:
        file = query.output(path.parent, run, name)
    except RecordError as error:
        raise NothingMeasuredError(str(error)) from error
    if file is None:
        raise NothingMeasuredError(f"no {name} that {path} names")
    try:
        return load(file)
    except DAMAGED as error:
        raise NothingMeasuredError(f"{file}: not readable ({error})") from error


def of_each(
    found: Mapping[str, tuple[Path, Record]], read: Callable[[Path, Record], T]
) -> tuple[dict[str, T], str]:
    """What is read of each backbone's run, and a caption's words on those that cannot be.

    Raises:
        NothingMeasuredError: none can.
    """
    there: dict[str, T] = {}
    failed: dict[str, str] = {}
    for name, (path, run) in found.items():
        try:
            there[name] = read(path, run)
        except NothingMeasuredError as error:
            failed[name] = str(error)
    if not there:
        raise NothingMeasuredError("; ".join(dict.fromkeys(failed.values())))
    return there, "".join(f" Left out: {name} ({reason})." for name, reason in failed.items())


def seeds_of(runs: Mapping[str, Record]) -> str:
    """ "seed 0", or each backbone's where they differ."""
    if len(seeds := {run.seed for run in runs.values()}) == 1:
        return f"seed {seeds.pop()}"
    return f"seeds: {', '.join(f'{name} {run.seed}' for name, run in runs.items())}"
