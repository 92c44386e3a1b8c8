"""The direction against dense BFGS matrices, and the line search against Wolfe's conditions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from downstream.probes import lbfgs
from downstream.probes.lbfgs import Pair


def _pairs(rng: np.random.Generator, problems: int, size: int, count: int) -> list[Pair]:
    """Steps, and how they change the gradients of random quadratic functions."""
    roots = rng.normal(size=(problems, size, size))
    hessians = roots @ roots.transpose(0, 2, 1) + np.eye(size)
    steps = rng.normal(size=(count, problems, size))
    changes = np.einsum("pij,cpj->cpi", hessians, steps)
    return [Pair.of(*map(torch.from_numpy, pair)) for pair in zip(steps, changes, strict=True)]


@pytest.mark.parametrize("count", [0, 1, 4])
def test_the_direction_is_that_of_bfgs_matrices(count: int):
    rng = np.random.default_rng(count)
    pairs = _pairs(rng, 3, 6, count)
    gradient, inverse = rng.normal(size=(3, 6)), rng.uniform(0.5, 2, (3, 6))
    found = lbfgs.direction(torch.from_numpy(gradient), pairs, torch.from_numpy(inverse))
    for p in range(3):
        matrix = np.diag(inverse[p])  # Nocedal and Wright, equation 6.17
        for pair in pairs:
            s, y = pair.step[p].numpy(), pair.change[p].numpy()
            rho = 1 / (s @ y)
            left = np.eye(6) - rho * np.outer(s, y)
            matrix = left @ matrix @ left.T + rho * np.outer(s, s)
        np.testing.assert_allclose(found[p], -matrix @ gradient[p], rtol=1e-9)


def test_a_pair_without_curvature_changes_nothing():
    rng = np.random.default_rng(0)
    gradient, inverse = (torch.from_numpy(rng.uniform(1, 2, (2, 4))) for _ in range(2))
    step = torch.ones(2, 4, dtype=torch.float64)
    pair = Pair.of(step, torch.stack([torch.zeros(4), -torch.ones(4)]).double())
    assert pair.weight.tolist() == [0, 0]
    found = lbfgs.direction(gradient, [pair, Pair.empty(step)], inverse)
    torch.testing.assert_close(found, -inverse * gradient)


def test_problems_are_taken_out_and_put_back():
    pair = _pairs(np.random.default_rng(1), 3, 4, 1)[0]
    kept = torch.tensor([True, False, True])
    whole = Pair.empty(pair.step)
    whole.put(torch.tensor([0, 2]), pair.of_problems(kept))
    torch.testing.assert_close(whole.step[kept], pair.step[kept])
    assert whole.weight[1] == 0
    assert not whole.step[1].any()


CURVES = {  # a convex function of a step, and its slope; what the first trial meets
    "the minimum at 1": (lambda a: (a - 1) ** 2, lambda a: 2 * (a - 1)),
    "far ahead": (lambda a: (a - 300) ** 2, lambda a: 2 * (a - 300)),
    "far behind": (lambda a: (a - 1e-5) ** 2, lambda a: 2 * (a - 1e-5)),
    "a wall": (lambda a: np.exp(30 * a) - 50 * a, lambda a: 30 * np.exp(30 * a) - 50),
    "an overflow": (
        lambda a: np.inf if a > 0.2 else np.exp(8 * a) - 30 * a,
        lambda a: np.nan if a > 0.2 else 8 * np.exp(8 * a) - 30,
    ),
    "flat and long": (
        lambda a: np.sqrt(1 + (a - 50) ** 2),
        lambda a: (a - 50) / np.hypot(1, a - 50),
    ),
}


def test_steps_meet_wolfes_conditions_all_at_once():
    asked: list[Tensor] = []

    def along(step: Tensor) -> tuple[Tensor, Tensor]:
        asked.append(step)
        with np.errstate(over="ignore"):
            both = [[f(float(a)) for f in fs] for fs, a in zip(CURVES.values(), step, strict=True)]
        return torch.tensor(both, dtype=torch.float64).unbind(dim=1)

    value, slope = along(torch.zeros(len(CURVES), dtype=torch.float64))
    step, met = lbfgs.line_search(along, value, slope)
    assert met.all()
    assert step is asked[-1]
    assert len(asked) < 30
    for (name, (f, df)), a, start, rise in zip(CURVES.items(), step, value, slope, strict=True):
        assert f(float(a)) <= start + 1e-4 * a * rise + 1e-12, name
        assert abs(df(float(a))) <= 0.9 * abs(rise), name


def test_a_function_without_a_minimum_is_given_up():
    def along(step: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full_like(step, torch.nan), torch.full_like(step, torch.nan)

    one = torch.ones(1, dtype=torch.float64)
    assert not lbfgs.line_search(along, one, -one)[1].any()
