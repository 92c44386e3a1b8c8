"""Figures of records: accuracy over seeds, and against test resolution."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from results.agreement import disagreement
from results.figures.drawing import (
    COLOURS,
    MARKERS,
    Material,
    NothingMeasuredError,
    Plot,
    label,
    legend_beside,
    panels,
    plot,
)
from results.record import Record

FEWEST_SEEDS = 3  # that a Gaussian is fitted to
_AT = re.compile(r"top1@(\d+)/([\d.]+)")


def over_seeds(records: Iterable[Record], metric: str = "top1") -> dict[str, list[Record]]:
    """Pretraining runs that differ in their seed alone, by task and recipe; three or more."""
    groups: dict[str, list[Record]] = {}
    for run in records:
        if run.stage == "pretrain" and metric in run.metrics:
            groups.setdefault(f"{run.task}/{run.recipe}", []).append(run)
    return {
        name: runs
        for name, runs in sorted(groups.items())
        if len(runs) >= FEWEST_SEEDS and disagreement(runs, metric) is None
    }


def seeds(material: Material) -> Plot:
    """ResNet strikes back, figure 2."""
    groups = over_seeds(material.records.values())
    if not groups:
        raise NothingMeasuredError(f"no recipe was pretrained with {FEWEST_SEEDS} seeds or more")
    all_axes = panels(len(groups))
    words = []
    for axes, (name, runs) in zip(all_axes, groups.items(), strict=True):
        values = np.array([run.metrics["top1"].value for run in runs])
        mean, deviation = norm.fit(values)
        axes.hist(values, bins="auto", density=True, color=COLOURS[0], alpha=0.6)
        axes.plot(
            values, np.zeros(len(values)), "|", color=COLOURS[1], markersize=14, clip_on=False
        )
        if deviation > 0:
            around = np.linspace(mean - 4 * deviation, mean + 4 * deviation, 201)
            axes.plot(around, norm.pdf(around, mean, deviation), "-", color=COLOURS[1])
        short = name.removeprefix("pretrain/")
        axes.set(title=label(f"{short}, n={len(values)}"), xlabel="top-1 (%)", ylabel="density")
        metric = runs[0].metrics["top1"]
        words.append(
            f"{short}: mean {mean:.2f}, standard deviation {deviation:.2f}, n={len(values)} seeds, "
            f"{metric.samples} samples of {runs[0].dataset.name}"
        )
    return plot(
        all_axes[0],
        f"Accuracy over seeds, and a Gaussian fit (protocol {material.protocol})",
        f"{'; '.join(words)}. The fit is of greatest likelihood. A stroke is a seed. Compare "
        f"ResNet strikes back, figure 2.",
    )


@dataclass(frozen=True)
class Curve:
    """Mean top-1 over seeds at each resolution."""

    recipe: str
    dataset: str
    crop_ratio: float
    resolutions: tuple[int, ...]
    top1: tuple[float, ...]
    seeds: int
    samples: int


def by_resolution(records: Iterable[Record]) -> list[Curve]:
    """Each backbone's accuracy at two or more resolutions; what may not be averaged is left out."""
    groups: dict[tuple[str, str, float, str], dict[int, list[Record]]] = {}
    for run in records:
        for metric in run.metrics if run.stage == "evaluate" else ():
            if at := _AT.fullmatch(metric):
                key = (run.dataset.name, run.recipe, float(at[2]), at[2])
                groups.setdefault(key, {}).setdefault(int(at[1]), []).append(run)
    curves = []
    for (dataset, recipe, ratio, printed), sides in sorted(groups.items(), key=lambda it: it[0]):
        points = {}
        for side, runs in sorted(sides.items()):
            metric = f"top1@{side}/{printed}"
            if disagreement(runs, metric) is None:
                points[side] = float(np.mean([run.metrics[metric].value for run in runs]))
        if len(points) > 1:
            some = sides[min(points)]
            samples = some[0].metrics[f"top1@{min(points)}/{printed}"].samples
            sides_top1 = tuple(points), tuple(points.values())
            curves.append(Curve(recipe, dataset, ratio, *sides_top1, len(some), samples))
    return curves


def resolutions(material: Material) -> Plot:
    """ResNet strikes back, figure 4."""
    curves = by_resolution(material.records.values())
    if not curves:
        raise NothingMeasuredError('no evaluation at two resolutions (RESOLUTIONS="160 224")')
    kinds = sorted({(it.dataset, it.crop_ratio) for it in curves})
    all_axes = panels(len(kinds))
    names = list(dict.fromkeys(it.recipe for it in curves))
    for axes, kind in zip(all_axes, kinds, strict=True):
        for curve in (it for it in curves if (it.dataset, it.crop_ratio) == kind):
            place = names.index(curve.recipe)
            axes.plot(
                curve.resolutions,
                curve.top1,
                color=COLOURS[place % len(COLOURS)],
                marker=MARKERS[place % len(MARKERS)],
                label=label(f"{curve.recipe}, n={curve.seeds}"),
            )
        axes.set(
            title=f"{kind[0]}, crop ratio {kind[1]:g}",
            xlabel="test resolution (pixels)",
            ylabel="top-1 (%)",
            xticks=sorted({side for it in curves for side in it.resolutions}),
        )
    legend_beside(*all_axes)
    words = sorted({f"{it.samples} samples of {it.dataset}" for it in curves})
    return plot(
        all_axes[0],
        f"Accuracy against test resolution (protocol {material.protocol})",
        f"Top-1 of each backbone at several resolutions, the mean of n seeds, on "
        f"{'; '.join(words)}. Compare ResNet strikes back, figure 4.",
    )
