"""Reads the output files of runs for the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from core.record import Record, RecordError
from core.selection import evenly
from results.figures.drawing import FigureError
from results.store import query
from results.store.verify import DAMAGED
from results.tables.spec import PAPER_RECIPES

BACKBONES = 5  # side by side

T = TypeVar("T")


def of_same_data(
    records: Mapping[Path, Record], stage: str, kept: str
) -> dict[str, tuple[Path, Record]]:
    """One run of each backbone that has an output file, all on the same data, in the papers' order.

    Chooses the task and dataset with most backbones, and the lowest seed of each. From many
    backbones, chooses a few at equal distances, with the first and the last.

    Args:
        kept: the name of the output file.

    Raises:
        FigureError: no run of the stage has one.
    """
    groups: dict[tuple[str, str], dict[str, tuple[Path, Record]]] = {}
    for path, run in sorted(records.items(), key=lambda it: (it[1].seed, it[0])):
        if run.stage == stage and path.with_name(kept).is_file():
            group = groups.setdefault((run.task, run.dataset.fingerprint), {})
            group.setdefault(run.recipe, (path, run))
    if not groups:
        raise FigureError(f"no {stage} run has a {kept}")
    group = max(groups.values(), key=len)
    return {name: group[name] for name in evenly(sorted(group, key=paper_order), BACKBONES)}


def paper_order(recipe: str) -> tuple[int, str]:
    """A sort key: recipes in the papers' order, then others by name."""
    place = PAPER_RECIPES.index(recipe) if recipe in PAPER_RECIPES else len(PAPER_RECIPES)
    return place, recipe


def read(path: Path, run: Record, name: str, load: Callable[[Path], T]) -> T:
    """Reads an output file of a run.

    Args:
        path: the file of the record.

    Raises:
        FigureError: the file is missing, does not match the record, or is damaged.
    """
    try:
        file = query.output(path.parent, run, name)
    except RecordError as error:
        raise FigureError(str(error)) from error
    if file is None:
        raise FigureError(f"{path}: the record lists no {name}, or the file is missing")
    try:
        return load(file)
    except DAMAGED as error:
        raise FigureError(f"{file}: not readable ({error})") from error


def of_each(
    found: Mapping[str, tuple[Path, Record]], read: Callable[[Path, Record], T]
) -> tuple[dict[str, T], str]:
    """Reads an output file of each backbone's run.

    Returns:
        The contents, and the part of a caption on backbones that are left out.

    Raises:
        FigureError: no file can be read.
    """
    there: dict[str, T] = {}
    failed: dict[str, str] = {}
    for name, (path, run) in found.items():
        try:
            there[name] = read(path, run)
        except FigureError as error:
            failed[name] = str(error)
    if not there:
        raise FigureError("; ".join(dict.fromkeys(failed.values())))
    return there, "".join(f" Left out: {name} ({reason})." for name, reason in failed.items())


def seeds_of(runs: Mapping[str, Record]) -> str:
    """The seeds of some runs: "seed 0", or each backbone's seed if they differ."""
    if len(seeds := {run.seed for run in runs.values()}) == 1:
        return f"seed {seeds.pop()}"
    return f"seeds: {', '.join(f'{name} {run.seed}' for name, run in runs.items())}"
