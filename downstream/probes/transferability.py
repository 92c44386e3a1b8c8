"""Transferability scores: predict from frozen features how well a backbone transfers.

Larger is better. Scores only rank backbones on one dataset; `trickbench transfer --scores` measures
how well they do.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from core import record
from core.errors import InputError
from core.metrics import classification
from downstream.probes import features, knn
from downstream.task import DownstreamRun
from pretrain.images import splits

ITERATIONS = 100  # of LogME's fixed point, which takes about ten
TOLERANCE = 1e-5  # of alpha / beta, from one iteration to the next


def logme(x: Tensor, labels: Tensor, classes: int) -> float:
    """Logarithm of the maximum evidence of a linear model of the labels, per sample.

    Each class is a regression of 1 and 0 on the features, with a Gaussian prior of precision alpha
    on its weights and noise of precision beta; the evidence is maximised over both, and averaged
    over the classes that have samples. Source: You et al., LogME (arXiv 2102.11005), equation 2 and
    algorithm 1, with the fixed-point iteration of the journal version (arXiv 2110.10545).

    Args:
        x: features [N, D] in float64, neither centred nor scaled.
        labels: [N] of class indices.

    Raises:
        InputError: all features are 0.
    """
    samples, width = x.shape
    squares, axes = torch.linalg.eigh(x.T @ x)
    squares, axes = squares.flip(0).clamp(min=0), axes.flip(1)
    rank = int((squares > squares[0] * max(samples, width) * torch.finfo(x.dtype).eps).sum())
    if rank == 0:
        raise InputError("all features are 0, so they cannot be scored: check the backbone")
    squares, axes = squares[:rank], axes[:, :rank]
    ones = torch.nn.functional.one_hot(labels, classes).to(x.dtype)
    # the targets' parts along the directions of the features, and the rest
    along = (axes.T @ (x.T @ ones) / squares.sqrt()[:, None]).square().T
    outside = (ones.sum(dim=0) - along.sum(dim=1)).clamp(min=0)
    evidences = [
        _evidence(squares, along[label], outside[label].item(), samples)
        for label in labels.unique().tolist()
    ]
    return sum(evidences) / len(evidences)


def _evidence(squares: Tensor, along: Tensor, outside: float, samples: int) -> float:
    """The maximum log evidence of a regression, per sample.

    Args:
        squares: squared singular values [R] of the features.
        along: squares [R] of the targets' parts along the features' directions.
        outside: square of the rest of the targets.
    """
    rank = len(squares)
    # a lower bound: if the features fit every target exactly, the best model has no noise
    least = torch.finfo(squares.dtype).eps * squares[-1].item()
    ratio = 1.0  # alpha / beta
    for _ in range(ITERATIONS):
        before = ratio
        alpha, beta = _precisions(squares, along, outside, samples, ratio)
        ratio = max(alpha / beta, least)
        if abs(ratio - before) <= TOLERANCE * before:
            break
    beta = alpha / ratio
    weights, errors = _sums(squares, along, outside, ratio)
    return (
        rank * math.log(alpha)
        + (samples - rank) * math.log(beta)
        - torch.log(ratio + squares).sum().item()
        - beta * errors
        - alpha * weights
        - samples * math.log(2 * math.pi)
    ) / (2 * samples)


def _precisions(
    squares: Tensor, along: Tensor, outside: float, samples: int, ratio: float
) -> tuple[float, float]:
    """One fixed-point step: alpha and beta for a ratio alpha / beta; unchanged at the maximum."""
    effective = (squares / (squares + ratio)).sum().item()
    without = samples - len(squares) + (ratio / (squares + ratio)).sum().item()
    weights, errors = _sums(squares, along, outside, ratio)
    return effective / weights, without / errors


def _sums(squares: Tensor, along: Tensor, outside: float, ratio: float) -> tuple[float, float]:
    """The squared norms of the best weights and of their errors."""
    weights = (squares * along / (squares + ratio).square()).sum().item()
    return weights, (along * (ratio / (squares + ratio)).square()).sum().item() + outside


def h_score(x: Tensor, labels: Tensor, classes: int) -> float:
    """H-score: the spread of the classes' mean features relative to the features' covariance.

    tr(C^-1 (1 - s) B), where B is the covariance of the class means, C = (1 - s) cov(x) + s m I the
    covariance with Ledoit-Wolf shrinkage s, and m the mean variance. It lies between 0 and
    `classes` - 1. Sources: Bao et al., An information-theoretic approach to transferability (ICIP
    2019), definition 2; Ibrahim et al., Newer is not always better (arXiv 2110.06893), equation 7.

    Args:
        x: features [N, D] in float64; labels: [N] of class indices.
    """
    samples, width = x.shape
    centred = x - x.mean(dim=0)
    covariance = centred.T @ centred / samples
    shrinkage = _ledoit_wolf(centred, covariance)
    mean_variance = covariance.trace() / width
    shrunk = (1 - shrinkage) * covariance
    shrunk.diagonal().add_(shrinkage * mean_variance)
    ones = torch.nn.functional.one_hot(labels, classes).to(x.dtype)
    counts = ones.sum(dim=0)
    means = (ones.T @ centred)[counts > 0] / counts[counts > 0, None].sqrt()
    between = means.T @ means / samples
    return (1 - shrinkage) * torch.linalg.lstsq(shrunk, between).solution.trace().item()


def _ledoit_wolf(centred: Tensor, covariance: Tensor) -> float:
    """The shrinkage: the weight of the identity in the estimate of the covariance.

    Source: Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices
    (2004), theorem 3.2.
    """
    samples, width = centred.shape
    identity = covariance.trace() / width
    distance = covariance.square().sum() / width - identity.square()
    fourth = centred.square().sum(dim=1).square().sum() / samples
    noise = (fourth - covariance.square().sum()) / (samples * width)
    return (noise.clamp(min=0).minimum(distance) / distance).item() if distance > 0 else 0.0


def run(run: DownstreamRun) -> None:
    """Loads or extracts the features, and scores those of the training set.

    Raises:
        InputError: data, backbone or options do not fit.
    """
    frozen = features.frozen(run)
    if frozen is None:
        return
    train, settings = frozen.train, frozen.settings
    x, labels = frozen.training(np.float64)
    classes = len(train.classes)
    kept, held = splits.validation_split(
        train.labels, settings.held_out, run.seed, few_shot=settings.train_size is not None
    )
    right = knn.correctly_classified(
        *(x[kept].float(), labels[kept], classes, frozen.x_train[held], train.labels[held]),
        ks=[settings.k],
        temperature=settings.temperature,
    )[settings.k]

    def score(value: float, detail: str) -> record.Metric:
        return record.Metric(
            value=value, unit="score", split=train.split, samples=len(x), detail=detail
        )

    neighbours = f"{settings.k} nearest neighbours of held-out samples"
    held_out = classification.metrics(right[:, None], train.split, neighbours)
    frozen.write_record(
        {
            "logme": score(logme(x, labels, classes), "log evidence per sample"),
            "h_score": score(h_score(x, labels, classes), "with Ledoit and Wolf's covariance"),
            "knn": held_out["top1"],
        }
    )
