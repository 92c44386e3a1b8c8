"""Figures of pretraining: learning rates, and accuracy and loss by epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from core.record import Record
from results.figures.drawing import (
    COLOURS,
    DASHES,
    Material,
    NothingMeasuredError,
    Plot,
    label,
    legend_beside,
    panels,
    plot,
)

# The recipes of Bag of Tricks' figure 3: they differ in the decay of the learning rate alone.
STEP, COSINE = "d-efficient", "cosine"

COLUMNS = ("epoch", "loss", "top1", "samples")  # of a history, what is drawn
History = list[dict[str, float]]


def histories(records: Mapping[Path, Record]) -> list[tuple[Record, History]]:
    """Pretraining runs with an epoch-by-epoch history beside their record, by recipe and seed.

    Raises:
        NothingMeasuredError: a history is damaged.
    """
    found = []
    for path, run in records.items():
        file = path.with_name("history.json")
        if run.stage == "pretrain" and file.is_file():
            found.append((run, read_history(file)))
    return sorted(found, key=lambda it: (it[0].task, it[0].recipe, it[0].seed))


def read_history(file: Path) -> History:
    """What each epoch ended with.

    Raises:
        NothingMeasuredError: the file is damaged, or an epoch lacks a number.
    """
    try:
        epochs = json.loads(file.read_bytes())
        epochs[-1]  # of none there is no curve
        return [{key: float(epoch[key]) for key in COLUMNS} for epoch in epochs]
    except (OSError, ValueError, LookupError, TypeError) as error:
        kind = type(error).__name__
        raise NothingMeasuredError(f"{file}: not a readable history ({kind}: {error})") from error


def column(history: History, key: str) -> NDArray[np.floating]:
    """One quantity at the end of each epoch."""
    return np.array([epoch[key] for epoch in history], float)


def learning_rates(recipe_name: str, protocol: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """The epochs at which a recipe's steps begin, and their learning rates.

    Raises:
        NothingMeasuredError: no such protocol, or none that the recipe's data belong to.
    """
    # mmengine takes a second to import, and only this needs it
    from core import configs
    from core.errors import InputError
    from pretrain import recipe
    from pretrain.images import loader
    from pretrain.training.lr_schedule import learning_rate, total_steps

    try:
        chosen = recipe.load(recipe_name, protocol, {})
        found = configs.config(chosen.dataset)
    except InputError as error:
        raise NothingMeasuredError(str(error)) from error
    per_epoch = loader.steps_per_epoch(found.sizes[found.splits["train"]], chosen.batch_size)
    steps = np.arange(total_steps(chosen, per_epoch))
    rates = np.array([learning_rate(chosen, int(step), per_epoch) for step in steps])
    return steps / per_epoch, rates


def lr_schedules(material: Material) -> Plot:
    """Bag of Tricks, figure 3a."""
    (axes,) = panels(1)
    for name, words in ((STEP, "step decay"), (COSINE, "cosine decay")):
        epochs, rates = learning_rates(name, material.protocol)
        axes.plot(epochs, rates, label=f"{words} ({name})")
    axes.set(xlabel="epoch", ylabel="learning rate", ylim=(0, None))
    axes.legend()
    return plot(
        axes,
        f"Learning rate: warm-up, then step or cosine decay (protocol {material.protocol})",
        f"The learning rate of every step of the recipes {STEP} and {COSINE}, as they stand under "
        f"protocol {material.protocol}; nothing measured. Compare Bag of Tricks, figure 3a.",
    )


def validation_curves(material: Material) -> Plot:
    """Bag of Tricks, figure 3b."""
    found = [
        (run, history)
        for run, history in histories(material.records)
        if run.recipe in (STEP, COSINE) and run.dataset.mirrors == "imagenet"
    ]
    if missing := {STEP, COSINE} - {run.recipe for run, _ in found}:
        raise NothingMeasuredError(f"no history of a pretraining by {', '.join(sorted(missing))}")
    (axes,) = panels(1)
    for run, history in found:
        _line(axes, run, history, "top1", [STEP, COSINE])
    axes.set(xlabel="epoch", ylabel=f"top-1 on {found[0][0].dataset.name} (%)")
    axes.legend()
    return plot(
        axes,
        f"Accuracy by epoch: step against cosine decay (protocol {material.protocol})",
        f"Top-1 at the end of each epoch. {_samples(found)} Compare Bag of Tricks, figure 3b.",
    )


def training_curves(material: Material) -> Plot:
    found = histories(material.records)
    if not found:
        raise NothingMeasuredError("no pretraining has a history.json beside its record")
    names = list(dict.fromkeys(run.recipe for run, _ in found))
    loss, accuracy = panels(2, columns=1, width=7.5, height=3.0)
    for run, history in found:
        _line(loss, run, history, "loss", names)
        _line(accuracy, run, history, "top1", names)
    # distillation's second term is hundreds of times as large as a cross-entropy
    loss.set(ylabel="training loss", yscale="log")
    loss.yaxis.set_major_formatter("{x:g}")
    loss.yaxis.set_minor_formatter("")
    accuracy.set(xlabel="epoch", ylabel="top-1 (%)")
    legend_beside(loss)
    return plot(
        loss,
        f"Training curves (protocol {material.protocol})",
        f"Mean training loss of each epoch, in the units of each recipe's own loss, so that only "
        f"its course can be compared between recipes, and top-1 at each epoch's end. "
        f"{_samples(found)}",
    )


def _line(axes: Axes, run: Record, history: History, key: str, names: list[str]) -> None:
    """One run's curve: seeds share a colour and an entry of the legend."""
    place = names.index(run.recipe)
    name = label(run.recipe)
    _, labels = axes.get_legend_handles_labels()
    axes.plot(
        column(history, "epoch"),
        column(history, key),
        color=COLOURS[place % len(COLOURS)],
        linestyle=DASHES[place // len(COLOURS) % len(DASHES)],
        marker="." if len(history) < 20 else None,
        label=None if name in labels else name,
    )


def _samples(found: list[tuple[Record, History]]) -> str:
    """How many seeds of each recipe, and on which data."""
    seeds: dict[str, int] = {}
    datasets: dict[str, None] = {}
    for run, history in found:
        seeds[run.recipe] = seeds.get(run.recipe, 0) + 1
        datasets[f"{int(history[-1]['samples'])} samples of {run.dataset.name}"] = None
    runs = ", ".join(f"{name} n={count}" for name, count in seeds.items())
    return f"A line for each seed: {runs}. Measured on {'; '.join(datasets)}."
