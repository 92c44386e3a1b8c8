"""L-BFGS for a batch of smooth convex problems at once: the direction, and the step along it.

Both are functions of tensors [P, ...] of P problems, so that what is expensive, the gradients of
all of them, can be one matrix product; `downstream.logistic` is what they serve.
Source: Nocedal and Wright, Numerical Optimization (2006), algorithm 7.4 and section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ARMIJO, CURVATURE = 1e-4, 0.9  # of the strong Wolfe conditions; Nocedal and Wright's for L-BFGS
TRIALS = 40  # steps that a line search tries


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products [P] of the problems of two batches [P, ...]."""
    return torch.linalg.vecdot(a.flatten(1), b.flatten(1))


def times(numbers: Tensor, a: Tensor) -> Tensor:
    """A batch [P, ...], each problem of it times its number of [P]."""
    return a * numbers.view(-1, *[1] * (a.dim() - 1))


@dataclass(frozen=True)
class Pair:
    """One step and what it did to the gradient, both [P, ...], and 1 / (step . change) [P].

    Where that is 0, the pair says nothing of its problem: there the step was too short to measure a
    curvature.
    """

    step: Tensor
    change: Tensor
    weight: Tensor

    @classmethod
    def of(cls, step: Tensor, change: Tensor) -> Pair:
        """The pair, with a weight for the problems whose curvature is clearly positive."""
        product = dot(step, change)
        least = torch.finfo(step.dtype).eps * (dot(step, step) * dot(change, change)).sqrt()
        return cls(step, change, torch.where(product > least, 1 / product, 0))

    @classmethod
    def nothing(cls, like: Tensor) -> Pair:
        """A pair that says nothing of any problem."""
        return cls(torch.zeros_like(like), torch.zeros_like(like), like.new_zeros(len(like)))

    def of_problems(self, kept: Tensor) -> Pair:
        """The same of some problems only, [P] of booleans."""
        return Pair(self.step[kept], self.change[kept], self.weight[kept])

    def put(self, places: Tensor, pair: Pair) -> None:
        """Takes the problems at these places from another pair, of as many."""
        self.step[places], self.change[places] = pair.step, pair.change
        self.weight[places] = pair.weight

    def to(self, dtype: torch.dtype) -> Pair:
        return Pair(self.step.to(dtype), self.change.to(dtype), self.weight.to(dtype))


def direction(gradient: Tensor, pairs: Sequence[Pair], inverse: Tensor) -> Tensor:
    """Minus the inverse Hessian, as the pairs tell it, times the gradient: the two-loop recursion.

    Args:
        gradient: [P, ...].
        pairs: the newest last.
        inverse: a diagonal [P, ...] of the inverse Hessian that the pairs correct, all positive.

    Returns:
        [P, ...].
    """
    found = gradient.clone()
    taken = []
    for pair in reversed(pairs):
        part = pair.weight * dot(pair.step, found)
        taken.append(part)
        found -= times(part, pair.change)
    found *= inverse
    for pair, part in zip(pairs, reversed(taken), strict=True):
        found += times(part - pair.weight * dot(pair.change, found), pair.step)
    return found.neg_()


def line_search(
    along: Callable[[Tensor], tuple[Tensor, Tensor]], value: Tensor, slope: Tensor
) -> tuple[Tensor, Tensor]:
    """Steps that meet the strong Wolfe conditions, each problem's own.

    A convex function's slope rises along a line, so its sign says on which side of a trial the
    minimum lies. Trials double until one is behind it; then the next is where the slope would
    vanish if it were linear, or, where that is too close to an end of the bracket, its middle.

    Args:
        along: values [P] and slopes [P] of the problems after steps [P]. It is called last with the
            steps that are returned.
        value, slope: before the step, the slopes below 0.

    Returns:
        Steps [P], and booleans [P]: whether they meet the conditions.
    """
    low, low_slope = torch.zeros_like(value), slope
    high = torch.full_like(value, torch.inf)
    step = torch.ones_like(value)
    noise = 8 * torch.finfo(value.dtype).eps * value.abs()  # values closer than this are the same
    for trial in range(TRIALS):
        now, rising = along(step)
        lower = now <= value + ARMIJO * step * slope + noise  # never if it is not a number
        met = lower & (rising.abs() <= -CURVATURE * slope)
        if met.all() or trial + 1 == TRIALS:
            break
        behind = ~met & (~lower | (rising > 0))
        ahead = ~met & ~behind
        secant = step - rising * (step - low) / (rising - low_slope)
        high = torch.where(behind, step, high)
        low, low_slope = torch.where(ahead, step, low), torch.where(ahead, rising, low_slope)
        margin = 0.1 * (high - low)
        inside = (secant > low + margin) & (secant < high - margin)
        bracketed = torch.where(inside, secant, (low + high) / 2)
        step = torch.where(met, step, torch.where(high.isinf(), 2 * step, bracketed))
    return step, met
