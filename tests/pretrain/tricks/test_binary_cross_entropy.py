"""Binary cross-entropy over classes against NumPy and timm; which classes are positive."""

import numpy as np
import pytest
import torch
from timm.loss import BinaryCrossEntropy

from pretrain.tricks.binary_cross_entropy import binary_cross_entropy, multi_hot

K = 6


def smoothed(labels: list[int], eps: float) -> torch.Tensor:
    q = np.full((len(labels), K), eps / (K - 1), dtype=np.float32)
    q[np.arange(len(labels)), labels] = 1 - eps
    return torch.from_numpy(q)


def test_is_numpys_mean_over_samples_and_classes() -> None:
    rng = np.random.default_rng(0)
    z, t = rng.normal(0, 3, (7, 5)), rng.random((7, 5))

    found = binary_cross_entropy(torch.from_numpy(z), torch.from_numpy(t))

    p = 1 / (1 + np.exp(-z))
    expected = -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum() / 35
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_by_hand() -> None:
    """Logits of 0 cost log 2 for any targets; a logit of log 3 has p = 3 / 4."""
    assert binary_cross_entropy(torch.zeros(3, 4), torch.rand(3, 4)).item() == pytest.approx(
        np.log(2)
    )
    z, t = torch.full((1, 2), float(np.log(3))), torch.tensor([[1.0, 0.0]])
    expected = -(np.log(3 / 4) + np.log(1 / 4)) / 2
    assert binary_cross_entropy(z, t).item() == pytest.approx(expected)


def test_large_logits_do_not_overflow() -> None:
    z = torch.tensor([[500.0, -500.0]])

    assert binary_cross_entropy(z, torch.tensor([[1.0, 0.0]])).item() == 0
    assert binary_cross_entropy(z, torch.tensor([[0.0, 1.0]])).item() == pytest.approx(500)


def test_gradient_is_sigmoid_minus_target_over_their_number() -> None:
    rng = np.random.default_rng(1)
    z, t = rng.normal(0, 2, (4, 3)), rng.random((4, 3))
    logits = torch.from_numpy(z).requires_grad_()

    binary_cross_entropy(logits, torch.from_numpy(t)).backward()

    np.testing.assert_allclose(logits.grad.numpy(), (1 / (1 + np.exp(-z)) - t) / 12, rtol=1e-9)


@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize(
    ("one", "two", "share", "positive"),
    [
        (2, 4, 0.7, {2, 4}),
        (2, 4, 0.001, {2, 4}),  # for any share
        (2, 4, 0.999, {2, 4}),
        (2, 4, 1.0, {2}),
        (2, 4, 0.0, {4}),
        (3, 3, 0.5, {3}),
        (3, 3, 0.0, {3}),
        (3, 3, 1.0, {3}),
        (0, 5, 0.5, {0, 5}),
    ],
)
def test_every_class_that_was_mixed_in_is_positive(
    one: int, two: int, share: float, positive: set[int], eps: float
) -> None:
    found = multi_hot(smoothed([one], eps), smoothed([two], eps), torch.tensor([share]))

    expected = [1 - eps if k in positive else eps / (K - 1) for k in range(K)]
    np.testing.assert_allclose(found.numpy(), [expected], rtol=1e-6)


def test_each_row_has_its_own_share() -> None:
    found = multi_hot(smoothed([0, 1, 2], 0), smoothed([3, 4, 5], 0), torch.tensor([0.0, 0.4, 1.0]))

    assert [set(np.flatnonzero(row)) for row in found.numpy()] == [{3}, {1, 4}, {2}]


def test_loss_of_mixed_targets_is_timms() -> None:
    """timm mixes the one-hot targets by their shares, then sets everything above 0 to 1."""
    rng = np.random.default_rng(2)
    labels, partners = rng.integers(0, K, (2, 50))
    share = torch.from_numpy(rng.choice([0.0, 0.01, 0.5, 0.9, 1.0], 50).astype(np.float32))
    one, two = (smoothed(list(x), 0) for x in (labels, partners))
    logits = torch.from_numpy(rng.normal(0, 2, (50, K)).astype(np.float32))

    ours = binary_cross_entropy(logits, multi_hot(one, two, share))

    mixed = share[:, None] * one + (1 - share[:, None]) * two
    theirs = BinaryCrossEntropy(smoothing=0.0, target_threshold=0.0)(logits, mixed)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
