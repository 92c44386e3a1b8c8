"""Label smoothing against equation 4 by hand, its optimal logits, and torch's smoothing."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pretrain.tricks.label_smoothing import label_smoothing


def test_equation_4_by_hand() -> None:
    targets = label_smoothing(torch.tensor([2, 0]), 5, 0.1)

    expected = [[0.025, 0.025, 0.9, 0.025, 0.025], [0.9, 0.025, 0.025, 0.025, 0.025]]
    np.testing.assert_allclose(targets.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(("classes", "eps"), [(2, 0.1), (10, 0.1), (1000, 0.1), (1000, 0.5)])
def test_rows_sum_to_one(classes: int, eps: float) -> None:
    labels = torch.arange(40) % classes

    rows = label_smoothing(labels, classes, eps).double().sum(dim=1)

    np.testing.assert_allclose(rows.numpy(), 1, rtol=1e-5)


def test_no_smoothing_is_one_hot() -> None:
    labels = torch.tensor([3, 1, 0, 3])

    assert torch.equal(label_smoothing(labels, 4, 0.0), F.one_hot(labels, 4).float())


@pytest.mark.parametrize("eps", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("classes", [10, 1000])
@pytest.mark.parametrize("by_hand", [True, False])
def test_optimal_gap_of_the_logits_is_the_papers(classes: int, eps: float, by_hand: bool) -> None:
    """Section 5.2: the best logit of the true class is higher by log((K - 1)(1 - eps) / eps)."""
    if by_hand:
        targets = torch.full((1, classes), eps / (classes - 1), dtype=torch.float64)
        targets[0, 4] = 1 - eps
    else:
        targets = label_smoothing(torch.tensor([4]), classes, eps).double()
    logits = torch.zeros(1, classes, dtype=torch.float64, requires_grad=True)
    lbfgs = torch.optim.LBFGS(
        [logits],
        max_iter=500,
        tolerance_grad=1e-12,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        lbfgs.zero_grad()
        loss = F.cross_entropy(logits, targets)
        loss.backward()
        return loss

    lbfgs.step(closure)

    others = torch.cat([logits[0, :4], logits[0, 5:]]).detach()
    gap = (logits[0, 4].detach() - others).numpy()
    np.testing.assert_allclose(gap, math.log((classes - 1) * (1 - eps) / eps), rtol=1e-4)
    if (classes, eps) == (1000, 0.1):
        assert gap.mean() == pytest.approx(9.1, abs=0.01)


def test_differs_from_torchs_by_eps_over_k_for_the_true_class() -> None:
    """torch gives eps / K to each class: eps / K more to the true one than here."""
    rng = np.random.default_rng(0)
    classes, eps = 7, 0.1
    z = rng.normal(0, 2, (6, classes))
    labels = rng.integers(0, classes, 6)
    logits, y = torch.from_numpy(z), torch.from_numpy(labels)

    ours = F.cross_entropy(logits, label_smoothing(y, classes, eps).double(), reduction="none")
    torchs = F.cross_entropy(logits, y, label_smoothing=eps, reduction="none")

    surprise = np.log(np.exp(z).sum(axis=1, keepdims=True)) - z
    true = surprise[np.arange(6), labels]
    rest = surprise.sum(axis=1) - true
    expected = eps / classes * (rest / (classes - 1) - true)
    np.testing.assert_allclose((ours - torchs).numpy(), expected, rtol=1e-5, atol=1e-7)
    assert np.abs(expected).min() > 1e-4
