"""The linear probe: logistic regression on frozen features, its penalty chosen on held-out data."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor

from downstream import backbone, engine, features
from downstream.engine import Task
from pretrain import command, data, distributed, recipe
from pretrain.evaluate import top_k_correct
from results import record


@dataclass(frozen=True)
class Probe:
    """A fitted probe: standardisation of the features, weights [D, K] and bias [K]."""

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def logits(self, x: Tensor) -> Tensor:
        """[N, K] of features [N, D]."""
        return (x - self.mean) / self.scale @ self.weight + self.bias


def objective(logits: Tensor, labels: Tensor, weight: Tensor, penalty: float) -> Tensor:
    """Mean cross-entropy in nats plus penalty / 2 times the squared norm of the weights.

    The bias is not penalised. With C = 1 / (N penalty), N times this is scikit-learn's objective.
    """
    return F.cross_entropy(logits, labels) + penalty / 2 * weight.square().sum()


def fit(x: Tensor, labels: Tensor, classes: int, penalties: Sequence[float]) -> list[Probe]:
    """One probe for each penalty, by L-BFGS in float64, the strongest first as the weaker's start.

    Args:
        x: features [N, D] in float64; labels: [N] of class indices.
        penalties: of `objective`; the probes come back in this order.
    """
    mean, scale = x.mean(dim=0), x.std(dim=0, unbiased=False)
    scale = torch.where(scale > 0, scale, 1)
    standard = (x - mean) / scale
    weight = torch.zeros(x.shape[1], classes, dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(classes, dtype=x.dtype, requires_grad=True)
    found: dict[float, Probe] = {}
    for penalty in sorted(penalties, reverse=True):
        solver = torch.optim.LBFGS(
            [weight, bias],
            max_iter=500,
            tolerance_grad=1e-6,
            tolerance_change=1e-12,
            history_size=10,
            line_search_fn="strong_wolfe",
        )

        def closure(solver: torch.optim.LBFGS = solver, penalty: float = penalty) -> Tensor:
            solver.zero_grad()
            loss = objective(standard @ weight + bias, labels, weight, penalty)
            loss.backward()
            return loss

        solver.step(closure)
        found[penalty] = Probe(mean, scale, weight.detach().clone(), bias.detach().clone())
    return [found[penalty] for penalty in penalties]


def choose(
    x: Tensor, labels: Tensor, classes: int, settings: Config, seed: int
) -> tuple[float, list[float]]:
    """The penalty with the best top-1 on a held-out part of the training set.

    Returns:
        The penalty, the strongest of equals, and the held-out top-1 of each in percent.
    """
    kept, held = data.per_class_split(labels.numpy(), settings.held_out, seed)
    probes = fit(x[kept], labels[kept], classes, settings.penalties)
    scores = [
        100 * top_k_correct(probe.logits(x[held]), labels[held], 1).double().mean().item()
        for probe in probes
    ]
    best = max(zip(scores, settings.penalties, strict=True))
    return best[1], scores


def accuracies(logits: Tensor, labels: Tensor, split: str, detail: str) -> dict[str, record.Metric]:
    """Top-1 and top-5 of logits [N, K], as a record has them."""
    return {
        f"top{k}": record.Metric(
            value=100 * top_k_correct(logits, labels, k).double().mean().item(),
            unit="%",
            split=split,
            samples=len(labels),
            detail=detail,
        )
        for k in (1, 5)
    }


def run(task: Task, dataset: str, data_root: Path, workers: int, options: Sequence[str]) -> None:
    """Extracts features, chooses the penalty, fits on the whole training set, reports on test.

    Raises:
        InputError: data, backbone or options do not fit.
    """
    started, began = datetime.now(UTC), time.perf_counter()
    settings = Config.fromfile(str(recipe.CONFIGS / "probe" / "linear.py"))
    settings.merge_from_dict(recipe.read_protocol(task.protocol).get("linear", {}))
    engine.override(settings, options)
    loaded = backbone.load(task.exchange)
    whole, test = (data.load(dataset, data_root, role) for role in ("train", "test"))
    train = data.limited(whole, settings.limit, task.seed)
    fingerprint = data.fingerprint(train, test)
    config = engine.plain(settings._cfg_dict)
    about = loaded.about
    identity = [task.name, task.protocol, task.seed, config, fingerprint, loaded.sha256]
    if not command.unfinished(task.out, recipe.digest([*identity, about.mean, about.std])):
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    folder, extracting = task.out / "features", time.perf_counter()
    kept = folder.exists()  # by a run that was interrupted: then there is no rate to measure
    x_train, x_test = (
        torch.from_numpy(
            features.cached(
                loaded,
                images,
                folder,
                resolution=settings.resolution,
                crop_ratio=settings.crop_ratio,
                workers=workers,
                device=device,
            ).astype(np.float64)
        )
        for images in (train, test)
    )
    seconds = time.perf_counter() - extracting
    y_train, y_test = torch.from_numpy(train.labels), torch.from_numpy(test.labels)
    penalty, scores = choose(x_train, y_train, len(train.classes), settings, task.seed)
    (probe,) = fit(x_train, y_train, len(train.classes), [penalty])
    detail = f"L2 penalty chosen on {settings.held_out:.0%} of the training set"
    metrics = accuracies(probe.logits(x_test), y_test, test.split, detail)
    wall = time.perf_counter() - began
    engine.write_record(
        task,
        data.described(fingerprint, train, test),
        loaded,
        backbone.classifier_tensors(loaded.model),
        config,
        metrics,
        record.Cost(
            wall_s=wall,
            samples_per_s=0 if kept else (len(train) + len(test)) / seconds,
            peak_memory_mb=distributed.peak_memory_mb(device),
            device=distributed.device_name(device),
            devices=1,
            precision="fp32",
            device_hours=wall / 3600,
        ),
        started,
        chosen={
            "penalty": penalty,
            "held_out_top1": dict(zip(map(str, settings.penalties), scores, strict=True)),
        },
    )
