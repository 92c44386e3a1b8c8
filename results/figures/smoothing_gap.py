"""Bag of Tricks, figure 4: label smoothing and the gap between logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.metrics import logit_gap
from core.metrics.logit_gap import GAPS
from core.record import Record
from results.figures.drawing import (
    COLOURS,
    FigureError,
    FigureInputs,
    Plot,
    label,
    panels,
    plot,
)
from results.figures.outputs import of_each, paper_order, read

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Gaps:
    """The logit gap of a backbone for each image; `eps` is its label smoothing in training."""

    name: str
    values: Floats
    classes: int
    dataset: str
    eps: float


def optimal_gap(eps: Floats | float, classes: int) -> Floats:
    """log((K - 1)(1 - eps) / eps): the optimal gap between the true class's logit and the others.

    Args:
        eps: the label smoothing, in (0, 1).
        classes: the number of classes K.
    """
    eps = np.asarray(eps, float)
    return np.log((classes - 1) * (1 - eps) / eps)


def smoothing_gap(inputs: FigureInputs) -> Plot:
    """The optimal gap, and the measured gaps of each backbone."""
    trained = [run for run in inputs.records.values() if run.stage == "pretrain"]
    found = of_each_recipe(inputs.records)
    # an evaluation's record does not say how its weights were trained
    eps = {run.backbone.sha256: float(run.config.get("label_smoothing", 0)) for run in trained}
    kept, left_out = of_each(found, finite_gaps) if found else ({}, "")
    measured = [
        Gaps(
            name=run.recipe,
            values=kept[name],
            classes=run.dataset.classes,
            dataset=run.dataset.name,
            eps=eps.get(run.backbone.sha256, 0.0),
        )
        for name, (_, run) in found.items()
        if name in kept
    ]
    classes = sorted({run.dataset.classes for run in trained} | {it.classes for it in measured})
    if not classes:
        raise FigureError("no record of a pretraining")
    drawn = draw(classes, measured, inputs.protocol)
    return replace(drawn, caption=drawn.caption + left_out)


def of_each_recipe(records: Mapping[Path, Record]) -> dict[str, tuple[Path, Record]]:
    """The lowest seed of each recipe and dataset with a file of gaps, in the papers' order.

    A pretraining takes precedence over an evaluation on the same data.
    """
    found: dict[str, tuple[Path, Record]] = {}
    for stage in ("pretrain", "evaluate"):
        for path, run in sorted(records.items(), key=lambda it: (it[1].seed, it[0])):
            if run.stage == stage and GAPS in run.outputs and path.with_name(GAPS).is_file():
                found.setdefault(f"{run.recipe} on {run.dataset.name}", (path, run))

    def place(name: str) -> tuple[str, tuple[int, str]]:
        _, run = found[name]
        return run.dataset.name, paper_order(run.recipe)

    return {name: found[name] for name in sorted(found, key=place)}


def finite_gaps(path: Path, run: Record) -> Floats:
    """The logit gaps of a run.

    Raises:
        FigureError: the file does not match the record, or a gap is not finite.
    """
    values = read(path, run, GAPS, logit_gap.load)
    if not (len(values) and np.isfinite(values).all()):
        raise FigureError(f"{path.with_name(GAPS)}: not all gaps are finite")
    return values


def draw(classes: Sequence[int], measured: Sequence[Gaps], protocol: str) -> Plot:
    theory, *histograms = panels(1 + len(measured))
    eps = np.linspace(0.005, 0.5, 100)
    for count in classes:
        theory.plot(eps, optimal_gap(eps, count), label=f"{count} classes")
    theory.set(xlabel="label smoothing (probability)", ylabel="optimal gap (logits)", xlim=(0, 0.5))
    theory.legend()
    for axes, found in zip(histograms, measured, strict=True):
        axes.hist(found.values, bins=40, density=True, color=COLOURS[0], alpha=0.7)
        axes.set(
            title=label(f"{found.name}, n={len(found.values)} images"),
            xlabel="largest logit minus the mean of the others",
            ylabel="density",
            xlim=(0, max(float(it.values.max()) for it in measured) * 1.05),
        )
        if 0 < found.eps < 1:
            axes.axvline(float(optimal_gap(found.eps, found.classes)), color=COLOURS[1], ls="--")
    words = "; ".join(f"{it.name}: {len(it.values)} images of {it.dataset}" for it in measured)
    found_words = (
        f"Measured on {words}, with the lowest seed; a dashed line is the optimum for the recipe's "
        f"smoothing."
        if measured
        else f"No pretraining and no evaluation has a {GAPS}."
    )
    return plot(
        theory,
        f"Label smoothing and the gap between logits (protocol {protocol})",
        f"In theory, log((K - 1)(1 - eps) / eps) for K classes. {found_words} Compare Bag of "
        f"Tricks, figure 4.",
    )
