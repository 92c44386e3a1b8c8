"""Bag of Tricks, figure 4: what label smoothing does to the gap between logits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from results.figures.drawing import (
    COLOURS,
    Material,
    NothingMeasuredError,
    Plot,
    label,
    panels,
    plot,
)

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Gaps:
    """The gap between a checkpoint's logits for each image; `eps` is what it was trained with."""

    name: str
    values: Floats
    classes: int
    dataset: str
    eps: float


def optimal_gap(eps: Floats | float, classes: int) -> Floats:
    """log((K - 1)(1 - eps) / eps): by how much the true class's logit should exceed the others.

    Args:
        eps: of label smoothing, in (0, 1).
        classes: K.
    """
    eps = np.asarray(eps, float)
    return np.log((classes - 1) * (1 - eps) / eps)


def gaps(logits: Floats) -> Floats:
    """The largest of each row [N, K] minus the mean of the others, [N]."""
    logits = np.asarray(logits, np.float64)
    largest = logits.max(axis=1)
    return largest - (logits.sum(axis=1) - largest) / (logits.shape[1] - 1)


def measure(checkpoint_file: Path, material: Material) -> Gaps:
    """The gaps of an exchange file on the test split of the data that it was trained on.

    Raises:
        NothingMeasuredError: no data, or none that fit or can be read; or not an exchange file.
    """
    # torch takes seconds to import, and only this needs it
    import torch

    from core import exchange
    from core.errors import InputError, RunError
    from pretrain.images import datasets, loader, transforms
    from pretrain.model import architectures

    if material.data is None:
        raise NothingMeasuredError(f"{checkpoint_file} needs the data that it is tested on: --data")
    try:
        tensors, about = exchange.load_exchange(checkpoint_file)
        model = architectures.create(about.architecture, about.classes)
        architectures.load_strictly(model, tensors)
        images = datasets.load(about.dataset, material.data, "test")
    except InputError as error:
        raise NothingMeasuredError(str(error)) from error
    view = loader.EvaluationView(images, about.resolution, about.crop_ratio, about.interpolation)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = []
    model.to(device).eval()
    try:
        with torch.no_grad():
            for pixels, labels, _ in loader.batches_of(loader.evaluation(view, 256, 0)):
                readable = pixels[labels >= 0].to(device).float() / 255
                logits = model(transforms.normalise(readable, about.mean, about.std))
                found.append(gaps(logits.cpu().numpy()))
    except RunError as error:
        raise NothingMeasuredError(str(error)) from error
    if not sum(map(len, found)):
        raise NothingMeasuredError(f"{images.root}: none of its {len(images)} images can be read")
    weights = exchange.weights_sha256(tensors)
    runs = (it for it in material.records.values() if it.stage == "pretrain")
    eps = next(
        (r.config.get("label_smoothing", 0) for r in runs if r.backbone.sha256 == weights), 0
    )
    return Gaps(about.recipe, np.concatenate(found), about.classes, images.name, float(eps))


def smoothing_gap(material: Material) -> Plot:
    """The gap in theory, and of each checkpoint as measured."""
    trained = [run for run in material.records.values() if run.stage == "pretrain"]
    measured = [measure(path, material) for path in material.checkpoints]
    classes = sorted({it.classes for it in measured} | {it.dataset.classes for it in trained})
    if not classes:
        raise NothingMeasuredError("no pretraining, so no number of classes")
    return draw(classes, measured, material.protocol)


def draw(classes: list[int], measured: list[Gaps], protocol: str) -> Plot:
    theory, *histograms = panels(1 + len(measured), columns=1, width=5.5, height=2.7)
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
        f"Measured on {words}; a dashed line is the optimum of the checkpoint's own smoothing."
        if measured
        else "No checkpoint was measured (--checkpoint backbone.safetensors --data DIR)."
    )
    return plot(
        theory,
        f"Label smoothing and the gap between logits (protocol {protocol})",
        f"In theory, log((K - 1)(1 - eps) / eps) for K classes. {found_words} Compare Bag of "
        f"Tricks, figure 4.",
    )
