"""L-BFGS for a batch of smooth convex problems: the search direction and the line search.

Both work on tensors [P, ...] of P problems, so that the expensive part, the gradients of all of
them, can be one matrix product. Used by `downstream.probes.logistic`.
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
    """A batch [P, ...], each problem multiplied by its own number of [P]."""
    return a * numbers.view(-1, *[1] * (a.dim() - 1))


@dataclass(frozen=True)
class Pair:
    """A step and its change of the gradient, both [P, ...], and 1 / (step . change) [P].

    A weight of 0 means no information: that problem's step was too short to measure a curvature.
    """

    step: Tensor
    change: Tensor
    weight: Tensor

    @classmethod
    def of(cls, step: Tensor, change: Tensor) -> Pair:
        """The pair of a step, with weight 0 for problems without clearly positive curvature."""
        product = dot(step, change)
        least = torch.finfo(step.dtype).eps * (dot(step, step) * dot(change, change)).sqrt()
        return cls(step, change, torch.where(product > least, 1 / product, 0))

    @classmethod
    def empty(cls, like: Tensor) -> Pair:
        """A pair without information on any problem."""
        return cls(torch.zeros_like(like), torch.zeros_like(like), like.new_zeros(len(like)))

    def of_problems(self, kept: Tensor) -> Pair:
        """The pair of some of the problems, given as booleans [P]."""
        return Pair(self.step[kept], self.change[kept], self.weight[kept])

    def put(self, indices: Tensor, pair: Pair) -> None:
        """Overwrites the problems at these indices with those of another pair."""
        self.step[indices], self.change[indices] = pair.step, pair.change
        self.weight[indices] = pair.weight

    def to(self, dtype: torch.dtype) -> Pair:
        return Pair(self.step.to(dtype), self.change.to(dtype), self.weight.to(dtype))


def direction(gradient: Tensor, pairs: Sequence[Pair], inverse: Tensor) -> Tensor:
    """Minus the approximate inverse Hessian times the gradient, by the two-loop recursion.

    Args:
        gradient: [P, ...].
        pairs: the newest last.
        inverse: initial diagonal [P, ...] of the inverse Hessian, positive.

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
    """A step for each problem that meets the strong Wolfe conditions.

    A convex function's slope rises along a line, so its sign tells on which side of a trial step
    the minimum lies. The step doubles until it is beyond the minimum. Then the next is where the
    slope would be 0 if it were linear, or the bracket's middle if that is too close to an end.

    Args:
        along: returns the values [P] and slopes [P] after steps [P]. Its last call is with the
            returned steps.
        value, slope: at step 0; the slopes are below 0.

    Returns:
        Steps [P], and booleans [P]: whether they meet the conditions.
    """
    low, low_slope = torch.zeros_like(value), slope
    high = torch.full_like(value, torch.inf)
    step = torch.ones_like(value)
    noise = 8 * torch.finfo(value.dtype).eps * value.abs()  # smaller differences are rounding
    for trial in range(TRIALS):
        now, rising = along(step)
        lower = now <= value + ARMIJO * step * slope + noise  # False for NaN
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
