"""Linear probe: logistic regression on frozen features, penalty chosen on held-out data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor

from core.metrics import classification
from downstream.probes import features, logistic
from downstream.task import DownstreamRun
from pretrain.images import splits
from pretrain.training.evaluate import top_k_correct


@dataclass(frozen=True)
class Probe:
    """A fitted probe: mean and scale of the features [D], weights [D, K] and bias [K]."""

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def logits(self, x: Tensor) -> Tensor:
        """[N, K] of features [N, D]."""
        return (x - self.mean) / self.scale @ self.weight + self.bias


def objective(logits: Tensor, labels: Tensor, weight: Tensor, penalty: float) -> Tensor:
    """Mean cross-entropy in nats plus penalty / 2 times the squared norm of the weights.

    The bias is not penalised. scikit-learn's objective is N C times this, with C = 1 / (N penalty).
    """
    return F.cross_entropy(logits, labels) + penalty / 2 * weight.square().sum()


def fit(x: Tensor, labels: Tensor, classes: int, penalties: Sequence[float]) -> list[Probe]:
    """The probe that minimises the objective, for each penalty; all are solved together.

    Args:
        x: features [N, D] in float64; labels: [N] of class indices.
        penalties: of `objective`; the probes are returned in this order.
    """
    mean, scale = x.mean(dim=0), x.std(dim=0, unbiased=False)
    scale = torch.where(scale > 0, scale, 1)
    weights, biases = logistic.solve((x - mean) / scale, labels, classes, penalties)
    return [Probe(mean, scale, w.T, b) for w, b in zip(weights, biases, strict=True)]


def choose(
    x: Tensor, labels: Tensor, classes: int, settings: Config, seed: int
) -> tuple[float, list[float]]:
    """The penalty with the best top-1 on a held-out part of the training set.

    Returns:
        The penalty (of equally good ones the largest), and each one's held-out top-1 in percent.
    """
    kept, held = splits.validation_split(
        labels.cpu().numpy(),
        settings.held_out,
        seed,
        few_shot=settings.get("train_size") is not None,
    )
    probes = fit(x[kept], labels[kept], classes, settings.penalties)
    scores = [
        100 * top_k_correct(probe.logits(x[held]), labels[held], 1).double().mean().item()
        for probe in probes
    ]
    best = max(zip(scores, settings.penalties, strict=True))
    return best[1], scores


def run(run: DownstreamRun) -> None:
    """Extracts features, chooses the penalty, fits on the whole training set, reports on test.

    Raises:
        InputError: data, backbone or options do not fit.
    """
    frozen = features.frozen(run)
    if frozen is None:
        return
    train, test, settings = frozen.train, frozen.test, frozen.settings
    x_train, y_train = frozen.training(np.float64)
    x_test = torch.from_numpy(frozen.x_test.astype(np.float64)).to(frozen.device)
    y_test = torch.from_numpy(test.labels).to(frozen.device)
    penalty, scores = choose(x_train, y_train, len(train.classes), settings, run.seed)
    (probe,) = fit(x_train, y_train, len(train.classes), [penalty])
    logits = probe.logits(x_test)
    right = torch.stack([top_k_correct(logits, y_test, k) for k in (1, 5)], dim=1).cpu().numpy()
    detail = f"L2 penalty chosen on {settings.held_out:.0%} of the training set"
    frozen.write_record(
        classification.metrics(right, test.split, detail),
        right,
        chosen={
            "penalty": penalty,
            "held_out_top1": dict(zip(map(str, settings.penalties), scores, strict=True)),
        },
    )
