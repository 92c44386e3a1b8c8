"""Accuracy over seeds, and against test resolution."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from core.record import Record
from results.figures.drawing import (
    COLOURS,
    MARKERS,
    FigureError,
    FigureInputs,
    Plot,
    label,
    legend_beside,
    panels,
    plot,
)
from results.store.comparability import averaging_conflict
from results.tables.grid import span

MIN_SEEDS = 3  # for the fit of a Gaussian
_AT = re.compile(r"top1@(\d+)/([\d.]+)")


def over_seeds(
    records: Iterable[Record], metric: str = "top1"
) -> tuple[dict[str, list[Record]], list[str]]:
    """Groups of three or more pretraining runs that differ only in their seed, by task and recipe.

    Returns:
        The groups, and why other groups are left out.
    """
    groups: dict[str, list[Record]] = {}
    for run in records:
        if run.stage == "pretrain" and metric in run.metrics:
            groups.setdefault(f"{run.task}/{run.recipe}", []).append(run)
    found, refused = {}, []
    for name, runs in sorted(groups.items()):
        if len(runs) < MIN_SEEDS:
            continue
        if (reason := averaging_conflict(runs, metric)) is None:
            found[name] = runs
        else:
            refused.append(reason)
    return found, refused


def left_out(refused: Iterable[str]) -> str:
    """The part of a caption on runs that cannot be averaged."""
    return "".join(f" Left out: {reason}." for reason in dict.fromkeys(refused))


def seeds(inputs: FigureInputs) -> Plot:
    """ResNet strikes back, figure 2."""
    groups, refused = over_seeds(inputs.records.values())
    if not groups:
        none = f"no recipe was pretrained with {MIN_SEEDS} seeds or more"
        raise FigureError("; ".join([none, *refused]))
    all_axes = panels(len(groups))
    words = []
    for axes, (name, runs) in zip(all_axes, groups.items(), strict=True):
        values = np.array([run.metrics["top1"].value for run in runs])
        mean, deviation = norm.fit(values)  # maximum likelihood: divides by n, not by n - 1
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
            f"{short}: mean {mean:.2f}, sample standard deviation {np.std(values, ddof=1):.2f}, "
            f"n={len(values)} seeds, {metric.samples} samples of {runs[0].dataset.name}"
        )
    return plot(
        all_axes[0],
        f"Accuracy over seeds, and a Gaussian fit (protocol {inputs.protocol})",
        f"{'; '.join(words)}. The curve is the maximum-likelihood Gaussian; each mark is one "
        f"seed. Compare ResNet strikes back, figure 2.{left_out(refused)}",
    )


@dataclass(frozen=True)
class Curve:
    """Mean top-1 over seeds, number of seeds and number of test samples, at each resolution."""

    recipe: str
    dataset: str
    crop_ratio: float
    resolutions: tuple[int, ...]
    top1: tuple[float, ...]
    seeds: tuple[int, ...]
    samples: tuple[int, ...]


def by_resolution(records: Iterable[Record]) -> tuple[list[Curve], list[str]]:
    """Each backbone's accuracy at two or more resolutions, and why other runs are left out."""
    groups: dict[tuple[str, str, float, str], dict[int, list[Record]]] = {}
    for run in records:
        for metric in run.metrics if run.stage == "evaluate" else ():
            if at := _AT.fullmatch(metric):
                key = (run.dataset.name, run.recipe, float(at[2]), at[2])
                groups.setdefault(key, {}).setdefault(int(at[1]), []).append(run)
    curves, refused = [], []
    for (dataset, recipe, ratio, printed), sides in sorted(groups.items(), key=lambda it: it[0]):
        points = []
        for side, runs in sorted(sides.items()):
            metric = f"top1@{side}/{printed}"
            if (reason := averaging_conflict(runs, metric)) is not None:
                refused.append(reason)
                continue
            measured = [run.metrics[metric] for run in runs]
            top1 = float(np.mean([it.value for it in measured]))
            points.append((side, top1, len(runs), measured[0].samples))
        if len(points) > 1:
            curves.append(Curve(recipe, dataset, ratio, *zip(*points, strict=True)))
    return curves, refused


def resolutions(inputs: FigureInputs) -> Plot:
    """ResNet strikes back, figure 4."""
    curves, refused = by_resolution(inputs.records.values())
    if not curves:
        none = 'no evaluation at two resolutions (RESOLUTIONS="160 224")'
        raise FigureError("; ".join([none, *dict.fromkeys(refused)]))
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
                label=label(f"{curve.recipe}, n={span(curve.seeds)}"),
            )
        axes.set(
            title=f"{kind[0]}, crop ratio {kind[1]:g}",
            xlabel="test resolution (pixels)",
            ylabel="top-1 (%)",
            xticks=sorted({side for it in curves for side in it.resolutions}),
        )
    legend_beside(*all_axes)
    words = sorted({f"{span(it.samples)} samples of {it.dataset}" for it in curves})
    return plot(
        all_axes[0],
        f"Accuracy against test resolution (protocol {inputs.protocol})",
        f"Top-1 of each backbone at several resolutions, the mean of n seeds, on "
        f"{'; '.join(words)}. Compare ResNet strikes back, figure 4.{left_out(refused)}",
    )
