"""Multinomial logistic regression for many L2 penalties at once, by one batched L-BFGS.

The objective for a penalty is (scikit-learn's is N C times it, with C = 1 / (N penalty)):

    mean over samples of -log softmax(W x + b)[label]  +  penalty / 2 |W|^2

Four things make it fast:
- All penalties share each product with the features.
- The features are rotated to their principal axes. The objective stays the same, and its Hessian
  becomes nearly diagonal, with entries near variance x mean p (1 - p) + penalty.
- The logits are linear in the weights, so a line search needs no product with the features.
- Most steps are taken in float32; float64 only finishes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from downstream.probes.lbfgs import Pair, direction, dot, line_search, times

HISTORY = 10  # pairs that L-BFGS remembers
ITERATIONS = 5000
STAGES = {torch.float32: 1e-8, torch.float64: 1e-8}  # precision: tolerance
BATCH_BYTES = 2**31  # limit of the logits of the penalties that are solved together


def principal_axes(x: Tensor) -> Tensor:
    """An orthonormal basis [D, R] of the span of features [N, D], R = min(N, D)."""
    if len(x) >= x.shape[1]:
        return torch.linalg.eigh(x.T @ x).eigenvectors
    span, inside = torch.linalg.qr(x.T)
    return span @ torch.linalg.eigh(inside @ inside.T).eigenvectors


def solve(
    x: Tensor, labels: Tensor, classes: int, penalties: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """The weights [P, K, D] and biases [P, K] that minimise the objective for each penalty.

    Args:
        x: features [N, D] in float64, standardised.
        labels: [N] of class indices.
        penalties: positive.
    """
    axes = principal_axes(x)
    turned = torch.cat([x @ axes, x.new_ones(len(x), 1)], dim=1)
    together = max(1, BATCH_BYTES // (len(x) * classes * x.element_size()))
    parts = []
    for some in torch.tensor(penalties, dtype=x.dtype, device=x.device).split(together):
        weights = x.new_zeros(len(some), classes, turned.shape[1])
        pairs = [Pair.empty(weights) for _ in range(HISTORY)]
        for dtype, tolerance in STAGES.items():
            features, weights = turned.to(dtype), weights.to(dtype)
            pairs = [pair.to(dtype) for pair in pairs]
            weights, pairs = descend(features, labels, some.to(dtype), weights, pairs, tolerance)
        parts.append(weights)
    found = torch.cat(parts)
    return found[..., :-1] @ axes.T, found[..., -1]


def losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The mean cross-entropy [P] of logits [P, K, N], and N times its gradient in the logits.

    The gradient is softmax minus one-hot. For the label's class it is minus the sum of the others,
    because 1 - p and log p lose digits if p is near 1, and the descent could not finish.
    """
    indices = labels.expand(len(logits), 1, -1)
    shifted = logits - logits.amax(dim=1, keepdim=True)
    own = shifted.gather(1, indices)
    slopes = shifted.exp_()
    total = slopes.sum(dim=1, keepdim=True)
    slopes /= total
    slopes.scatter_(1, indices, 0)
    wrong = slopes.sum(dim=1, keepdim=True)
    slopes.scatter_(1, indices, -wrong)
    loss = torch.where(wrong < 0.5, -torch.log1p(-wrong), total.log() - own)
    return loss.mean(dim=(1, 2)), slopes


def descend(
    x: Tensor,
    labels: Tensor,
    penalties: Tensor,
    weights: Tensor,
    pairs: list[Pair],
    tolerance: float,
) -> tuple[Tensor, list[Pair]]:
    """L-BFGS for P penalties, each until it has converged; returns the final weights and pairs.

    A problem has converged if the next step is expected to lower its objective by less than
    `tolerance` times its value, or if the line search fails.

    Args:
        x: [N, D + 1], the features in their principal axes, and a column of 1.
        weights, pairs: where to start; weights are [P, K, D + 1], the biases last.
    """
    found, learned = weights.clone(), [Pair.empty(weights) for _ in pairs]
    running = torch.arange(len(weights), device=x.device)  # indices of the problems not converged
    variance, shrink = x.square().mean(dim=0), _penalty_per_weight(penalties, x)
    logits = _forward(weights, x)
    loss, slopes = losses(logits, labels)
    value = loss + dot(shrink * weights, weights) / 2
    gradient = _backward(slopes, x) + shrink * weights
    met = torch.ones(len(weights), dtype=torch.bool, device=x.device)
    for _ in range(ITERATIONS):
        hessian = curvature(slopes)[:, :, None] * variance + shrink  # its diagonal
        step = direction(gradient, pairs, 1 / hessian)
        slope = dot(gradient, step)
        ended = ~met | ~(-slope / 2 > tolerance * value)
        if ended.any():
            indices, on = running[ended], ~ended
            found[indices] = weights[ended]
            for mine, pair in zip(learned, pairs, strict=True):
                mine.put(indices, pair.of_problems(ended))
            running = running[on]
            if not len(running):
                break
            weights, logits, gradient, step = weights[on], logits[on], gradient[on], step[on]
            shrink, value, slope = shrink[on], value[on], slope[on]
            pairs = [pair.of_problems(on) for pair in pairs]
        moved = _forward(step, x)
        line = Line(logits, moved, labels, _parabola(shrink, weights, step))
        length, met = line_search(line, value, slope)
        step, value, slopes = times(length, step), line.value, line.slopes
        logits, weights = logits + times(length, moved), weights + step
        before, gradient = gradient, _backward(slopes, x) + shrink * weights
        pairs = [*pairs[1:], Pair.of(step, gradient - before)]
    found[running] = weights[: len(running)]
    return found, learned


def _penalty_per_weight(penalties: Tensor, x: Tensor) -> Tensor:
    """[P, 1, D + 1]: each penalty for every weight, 0 for the bias."""
    penalised = x.new_ones(x.shape[1])
    penalised[-1] = 0
    return times(penalties, penalised.expand(len(penalties), 1, -1))


class Line:
    """The objectives along the search lines; it keeps the last value and slopes in the logits.

    Args:
        logits, moved: [P, K, N] at the start of the lines, and their change in a step of 1.
        parabola: the penalties' parts, each [P]: constant, linear and quadratic coefficient.
    """

    def __init__(
        self, logits: Tensor, moved: Tensor, labels: Tensor, parabola: tuple[Tensor, ...]
    ) -> None:
        self.logits, self.moved, self.labels, self.parabola = logits, moved, labels, parabola

    def __call__(self, length: Tensor) -> tuple[Tensor, Tensor]:
        constant, linear, quadratic = self.parabola
        loss, self.slopes = losses(self.logits + times(length, self.moved), self.labels)
        self.value = loss + constant + length * (linear + length * quadratic)
        rising = dot(self.slopes, self.moved) / len(self.labels)
        return self.value, rising + linear + 2 * length * quadratic


def _parabola(shrink: Tensor, weights: Tensor, step: Tensor) -> tuple[Tensor, ...]:
    ridge = shrink * step
    return dot(shrink * weights, weights) / 2, dot(ridge, weights), dot(ridge, step) / 2


def curvature(slopes: Tensor) -> Tensor:
    """The mean of p (1 - p) over the samples, [P, K], from the slopes [P, K, N] of `losses`.

    It equals the mean of |slope| (1 - |slope|), also for the label's class, whose slope is p - 1.
    """
    spread = slopes.abs().sum(dim=2) - slopes.square().sum(dim=2)
    return (spread / slopes.shape[2]).clamp_min(1e-9)


def _forward(weights: Tensor, x: Tensor) -> Tensor:
    """Logits [P, K, N]: samples are last, so that sums over classes read contiguous memory."""
    return (weights.flatten(0, 1) @ x.T).view(*weights.shape[:2], len(x))


def _backward(slopes: Tensor, x: Tensor) -> Tensor:
    """The mean gradient [P, K, D + 1] in the weights of slopes [P, K, N] in the logits."""
    return (slopes.flatten(0, 1) @ x).view(*slopes.shape[:2], x.shape[1]) / len(x)
