"""Per-image results of a run, read from the files beside its record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.metrics.statistic import Statistic, value
from core.record import Record, RecordError
from core.tasks import TASKS, KeptFile
from results.store import query
from results.store.comparability import run_name
from results.store.verify import DAMAGED, ROUNDING


@dataclass(frozen=True)
class ImageScores:
    """One metric of one run, as a statistic of its images.

    Attributes:
        images: names, or positions in the test split. Runs with equal images can be paired.
    """

    images: tuple[str, ...] | tuple[int, ...]
    statistic: Statistic


def load(folder: Path, run: Record, metric: str) -> ImageScores | None:
    """A metric of a run by image; None if the run has no per-image results.

    Raises:
        RecordError: the file's hash or content does not match the record.
    """
    declared = TASKS[run.stage].metrics.get(metric)
    kept = None if declared is None else declared.kept_in
    path = None if kept is None else query.output(folder, run, kept.name)
    if declared is None or kept is None or path is None:
        return None
    try:
        results = kept.load(path)
        statistic = results.statistics()[declared.statistic or metric]
        found = ImageScores(results.images, statistic)
    except DAMAGED as error:
        raise RecordError(f"{path}: cannot read {metric} from {kept.name} ({error})") from error
    measured = run.metrics[metric]
    if len(found.images) != measured.samples:
        raise RecordError(f"{path}: {len(found.images)} images, the record has {measured.samples}")
    again = value(found.statistic, len(found.images))
    if abs(again - measured.value) > ROUNDING:
        raise RecordError(f"{path}: {metric} {again:.4f}, the record has {measured.value:.4f}")
    return found


def kept_in(run: Record, metric: str) -> KeptFile | None:
    """The per-image file of a run's metric, if its task writes one."""
    declared = TASKS[run.stage].metrics.get(metric)
    return None if declared is None else declared.kept_in


def missing(run: Record, metric: str) -> str:
    """Why `load` found nothing."""
    if (kept := kept_in(run, metric)) is None:
        return f"{metric} has no per-image results"
    return f"{run_name(run)} has no {kept.name}"
