"""Learning rates, loss and accuracy by epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from core.record import Record
from results.figures.drawing import (
    COLOURS,
    DASHES,
    FigureError,
    FigureInputs,
    Plot,
    label,
    legend_beside,
    panels,
    plot,
)
from results.figures.outputs import read

# The recipes of Bag of Tricks' figure 3: they differ in the decay of the learning rate alone.
STEP, COSINE = "d-efficient", "cosine"

HISTORY = "history.json"
COLUMNS = ("epoch", "loss", "top1", "samples")  # the drawn values of a history


@dataclass(frozen=True)
class History:
    """The loss and accuracy of each epoch of a pretraining, and its learning rates.

    Attributes:
        columns: an array [epochs] for each of COLUMNS.
        learning_rates: [n, 2], epoch and learning rate of some steps; empty for runs of older
            versions.
    """

    columns: Mapping[str, NDArray[np.floating]]
    learning_rates: NDArray[np.floating]


def histories(records: Mapping[Path, Record]) -> list[tuple[Record, History]]:
    """Pretraining runs with a history file, sorted by recipe and seed.

    Raises:
        FigureError: a history is damaged or does not match its record.
    """
    found = [
        (run, read(path, run, HISTORY, read_history))
        for path, run in records.items()
        if run.stage == "pretrain" and HISTORY in run.outputs and path.with_name(HISTORY).is_file()
    ]
    return sorted(found, key=lambda it: (it[0].task, it[0].recipe, it[0].seed))


def read_history(file: Path) -> History:
    """Reads a history.

    Raises:
        FigureError: the file is damaged, or an epoch lacks a value.
    """
    try:
        epochs = json.loads(file.read_bytes())
        epochs[-1]  # raises IndexError for an empty history
        columns = {key: np.array([float(epoch[key]) for epoch in epochs]) for key in COLUMNS}
        steps = [step for epoch in epochs for step in epoch.get("learning_rates", ())]
        return History(columns, np.array(steps, float).reshape(-1, 2))
    except (OSError, ValueError, LookupError, TypeError) as error:
        kind = type(error).__name__
        raise FigureError(f"{file}: not a readable history ({kind}: {error})") from error


def step_and_cosine(records: Mapping[Path, Record]) -> list[tuple[Record, History]]:
    """The histories of the two recipes of Bag of Tricks' figure 3, on ImageNet or its stand-in.

    Raises:
        FigureError: one of them has no history.
    """
    found = [
        (run, history)
        for run, history in histories(records)
        if run.recipe in (STEP, COSINE) and run.dataset.mirrors == "imagenet"
    ]
    if missing := {STEP, COSINE} - {run.recipe for run, _ in found}:
        raise FigureError(f"no history of a pretraining by {', '.join(sorted(missing))}")
    return found


def lr_schedules(inputs: FigureInputs) -> Plot:
    """Bag of Tricks, figure 3a.

    Raises:
        FigureError: one of the two recipes has no history with learning rates.
    """
    rates = {}
    for run, history in reversed(step_and_cosine(inputs.records)):  # the lowest seed is the last
        if len(history.learning_rates):
            rates[run.recipe] = history.learning_rates
    if missing := {STEP, COSINE} - rates.keys():
        raise FigureError(
            f"the histories of {', '.join(sorted(missing))} have no learning rates: they were "
            f"written by an older version"
        )
    (axes,) = panels(1)
    for name, words in ((STEP, "step decay"), (COSINE, "cosine decay")):
        axes.plot(*rates[name].T, label=f"{words} ({name})")
    axes.set(xlabel="epoch", ylabel="learning rate", ylim=(0, None))
    axes.legend()
    return plot(
        axes,
        f"Learning rate: warm-up, then step or cosine decay (protocol {inputs.protocol})",
        f"The learning rates of the pretraining runs {STEP} and {COSINE}, at some steps of each "
        f"epoch. Compare Bag of Tricks, figure 3a.",
    )


def validation_curves(inputs: FigureInputs) -> Plot:
    """Bag of Tricks, figure 3b."""
    found = step_and_cosine(inputs.records)
    (axes,) = panels(1)
    for run, history in found:
        _line(axes, run, history, "top1", [STEP, COSINE])
    axes.set(xlabel="epoch", ylabel=f"top-1 on {found[0][0].dataset.name} (%)")
    axes.legend()
    return plot(
        axes,
        f"Accuracy by epoch: step against cosine decay (protocol {inputs.protocol})",
        f"Top-1 at the end of each epoch. {_samples(found)} Compare Bag of Tricks, figure 3b.",
    )


def training_curves(inputs: FigureInputs) -> Plot:
    found = histories(inputs.records)
    if not found:
        raise FigureError(f"no record of a pretraining names a {HISTORY}")
    names = list(dict.fromkeys(run.recipe for run, _ in found))
    loss, accuracy = panels(2, columns=1, width=7.5, height=3.0)
    for run, history in found:
        _line(loss, run, history, "loss", names)
        _line(accuracy, run, history, "top1", names)
    # the second loss term of distillation is hundreds of times larger than a cross-entropy
    loss.set(ylabel="training loss", yscale="log")
    loss.yaxis.set_major_formatter("{x:g}")
    loss.yaxis.set_minor_formatter("")
    accuracy.set(xlabel="epoch", ylabel="top-1 (%)")
    legend_beside(loss)
    return plot(
        loss,
        f"Training curves (protocol {inputs.protocol})",
        f"Mean training loss of each epoch (recipes have different losses: compare shapes, not "
        f"values), and top-1 at the end of each epoch. "
        f"{_samples(found)}",
    )


def _line(axes: Axes, run: Record, history: History, key: str, names: list[str]) -> None:
    """Draws one run; seeds share a colour and a legend entry."""
    place = names.index(run.recipe)
    name = label(run.recipe)
    _, labels = axes.get_legend_handles_labels()
    axes.plot(
        history.columns["epoch"],
        history.columns[key],
        color=COLOURS[place % len(COLOURS)],
        linestyle=DASHES[place // len(COLOURS) % len(DASHES)],
        marker="." if len(history.columns["epoch"]) < 20 else None,
        label=None if name in labels else name,
    )


def _samples(found: list[tuple[Record, History]]) -> str:
    """The number of seeds of each recipe, and the data."""
    seeds: dict[str, int] = {}
    datasets: dict[str, None] = {}
    for run, history in found:
        seeds[run.recipe] = seeds.get(run.recipe, 0) + 1
        datasets[f"{int(history.columns['samples'][-1])} samples of {run.dataset.name}"] = None
    runs = ", ".join(f"{name} n={count}" for name, count in seeds.items())
    return f"One line for each seed: {runs}. Measured on {'; '.join(datasets)}."
