"""Multinomial logistic regression under many L2 penalties at once: one batch, one L-BFGS.

The objective for a penalty is scikit-learn's over N, with C = 1 / (N penalty):

    mean over samples of -log softmax(W x + b)[label]  +  penalty / 2 |W|^2

Four things make it fast. All penalties share each product with the features. The features are
turned into their principal axes, which leaves the objective as it is and makes the diagonal of its
Hessian known, near to variance x mean p (1 - p) + penalty, and large next to what is beside it.
The logits are linear in the weights, so a line search needs no product with the features. And it
is in float32 that most steps are taken; float64 ends what they began.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from downstream.probes.lbfgs import Pair, direction, dot, line_search, times

HISTORY = 10  # pairs that L-BFGS keeps
ITERATIONS = 5000
STAGES = {torch.float32: 1e-8, torch.float64: 1e-8}  # and how far each descends
BATCH_BYTES = 2**31  # of the logits of the penalties that are solved together


def principal_axes(x: Tensor) -> Tensor:
    """An orthonormal basis [D, R] of what features [N, D] span, R = min(N, D)."""
    if len(x) >= x.shape[1]:
        return torch.linalg.eigh(x.T @ x).eigenvectors
    span, inside = torch.linalg.qr(x.T)
    return span @ torch.linalg.eigh(inside @ inside.T).eigenvectors


def solve(
    x: Tensor, labels: Tensor, classes: int, penalties: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """The weights [P, K, D] and biases [P, K] of the least objective for each of the penalties.

    Args:
        x: features [N, D] in float64, centred and of like scales.
        labels: [N] of class indices.
        penalties: positive.
    """
    axes = principal_axes(x)
    turned = torch.cat([x @ axes, x.new_ones(len(x), 1)], dim=1)
    together = max(1, BATCH_BYTES // (len(x) * classes * x.element_size()))
    parts = []
    for some in torch.tensor(penalties, dtype=x.dtype, device=x.device).split(together):
        weights = x.new_zeros(len(some), classes, turned.shape[1])
        pairs = [Pair.nothing(weights) for _ in range(HISTORY)]
        for dtype, tolerance in STAGES.items():
            features, weights = turned.to(dtype), weights.to(dtype)
            pairs = [pair.to(dtype) for pair in pairs]
            weights, pairs = descend(features, labels, some.to(dtype), weights, pairs, tolerance)
        parts.append(weights)
    found = torch.cat(parts)
    return found[..., :-1] @ axes.T, found[..., -1]


def losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The mean cross-entropy [P] of logits [P, K, N], and N times its gradient in the logits.

    The gradient is softmax minus one-hot, but for the label's class it is summed up from the
    others: 1 - p would have lost the digits of a p near 1, and with them the last of the descent.
    So would the logarithm of such a p.
    """
    places = labels.expand(len(logits), 1, -1)
    shifted = logits - logits.amax(dim=1, keepdim=True)
    own = shifted.gather(1, places)
    slopes = shifted.exp_()
    total = slopes.sum(dim=1, keepdim=True)
    slopes /= total
    slopes.scatter_(1, places, 0)
    wrong = slopes.sum(dim=1, keepdim=True)
    slopes.scatter_(1, places, -wrong)
    loss = torch.where(wrong < 0.5, -torch.log1p(-wrong), total.log() - own)
    return loss.mean(dim=(1, 2)), slopes


def descend(
    x: Tensor,
    labels: Tensor,
    penalties: Tensor,
    weights: Tensor,
    pairs: Sequence[Pair],
    tolerance: float,
) -> tuple[Tensor, list[Pair]]:
    """L-BFGS for P penalties, each until its own descent has ended.

    It ends where the next step is expected to lower the objective by less than `tolerance` times
    it, or no step that lowers it enough can be found.

    Args:
        x: [N, D + 1], all of one type, the features in their principal axes, and a column of 1.
        penalties: [P].
        weights: [P, K, D + 1] to start from, the biases last.
        pairs: what is known of the curvature there.

    Returns:
        The weights at the end, and the pairs.
    """
    found, learned = weights.clone(), [Pair.nothing(weights) for _ in pairs]
    running = torch.arange(len(weights), device=x.device)
    variance = x.square().mean(dim=0)
    penalised = torch.ones_like(variance)
    penalised[-1] = 0
    shrink = times(penalties, penalised.expand(len(penalties), 1, -1))
    logits = _forward(weights, x)
    value, slopes = losses(logits, labels)
    value = value + dot(shrink * weights, weights) / 2
    gradient = _backward(slopes, x) + shrink * weights
    ended = torch.zeros(len(weights), dtype=torch.bool, device=x.device)
    for _ in range(ITERATIONS):
        inverse = 1 / (curvature(slopes)[:, :, None] * variance + shrink)
        step = direction(gradient, pairs, inverse)
        slope = dot(gradient, step)
        ended = ended | ~(-slope / 2 > tolerance * value)
        if ended.any():
            places, on = running[ended], ~ended
            found[places] = weights[ended]
            for mine, pair in zip(learned, pairs, strict=True):
                mine.put(places, pair.of_problems(ended))
            running = running[on]
            if not len(running):
                break
            weights, logits, gradient, step = weights[on], logits[on], gradient[on], step[on]
            shrink, value, slope = shrink[on], value[on], slope[on]
            pairs = [pair.of_problems(on) for pair in pairs]
        moved = _forward(step, x)
        line = Line(logits, moved, labels, _parabola(shrink, weights, step))
        length, met = line_search(line, value, slope)
        ended = ~met
        step, value, slopes = times(length, step), line.value, line.slopes
        logits, weights = logits + times(length, moved), weights + step
        before, gradient = gradient, _backward(slopes, x) + shrink * weights
        pairs = [*pairs[1:], Pair.of(step, gradient - before)]
    found[running] = weights[: len(running)]
    return found, learned


class Line:
    """The objectives along lines, as a line search asks for them; it keeps what it found last.

    Args:
        logits, moved: [P, K, N] where the lines start, and by how much they move in a step of 1.
        parabola: the coefficients, each [P], of the penalties' parts: constant, linear, quadratic.
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
    """The mean of p (1 - p) over the samples, [P, K], of what `losses` gives [P, K, N].

    That is |slope| (1 - |slope|) for the label's class too, whose slope is p - 1.
    """
    spread = slopes.abs().sum(dim=2) - slopes.square().sum(dim=2)
    return (spread / slopes.shape[2]).clamp_min(1e-9)


def _forward(weights: Tensor, x: Tensor) -> Tensor:
    """Logits [P, K, N]: the samples last, so that sums over classes run along rows of memory."""
    return (weights.flatten(0, 1) @ x.T).view(*weights.shape[:2], len(x))


def _backward(slopes: Tensor, x: Tensor) -> Tensor:
    """The mean gradient [P, K, D + 1] in the weights of slopes [P, K, N] in the logits."""
    return (slopes.flatten(0, 1) @ x).view(*slopes.shape[:2], x.shape[1]) / len(x)
