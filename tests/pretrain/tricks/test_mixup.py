"""Mixup against equations 7 and 8 by hand, and the distribution of lambda."""

import numpy as np
import pytest
import torch

from pretrain.tricks import mixup


def test_equations_7_and_8_by_hand() -> None:
    images = torch.tensor([1.0, 10.0, 100.0]).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    targets = torch.eye(3)
    partner, lam = [1, 2, 0], torch.tensor([0.75, 0.5, 1.0])

    x, y = (mixup.mix(values, values[partner], lam) for values in (images, targets))

    by_hand = [0.75 * 1 + 0.25 * 10, 0.5 * 10 + 0.5 * 100, 100.0]
    np.testing.assert_allclose(x[:, 0, 0, 0], by_hand)
    assert torch.equal(x, x[:, :1, :1, :1].expand_as(x)), "one lambda per image"
    np.testing.assert_allclose(y, [[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 1]])


def test_mixes_every_pixel_as_numpy_does() -> None:
    rng = np.random.default_rng(0)
    values, others = rng.normal(size=(2, 8, 3, 5, 4)).astype(np.float32)
    lam = rng.random(8).astype(np.float32)

    found = mixup.mix(*map(torch.from_numpy, (values, others, lam)))

    weight = lam[:, None, None, None]
    expected = weight * values + (1 - weight) * others
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_a_lambda_of_0_or_1_gives_one_of_the_two() -> None:
    values, others = torch.rand(2, 2, 3, 4, 4)

    found = mixup.mix(values, others, torch.tensor([1.0, 0.0]))

    assert torch.equal(found[0], values[0])
    assert torch.equal(found[1], others[1])


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0])
def test_lambda_has_the_moments_of_beta(alpha: float) -> None:
    """E x^k of Beta(a, a) is the product of (a + r) / (2 a + r), r < k."""
    n = 200_000
    lam = mixup.draw(np.random.default_rng(5), n, alpha)
    assert lam.shape == (n,)
    assert lam.dtype == torch.float32
    x = lam.double().numpy()

    def moment(k: int) -> float:
        r = np.arange(k)
        return float(np.prod((alpha + r) / (2 * alpha + r)))

    for k in (1, 2, 3, 4):
        sigma = np.sqrt((moment(2 * k) - moment(k) ** 2) / n)
        assert abs((x**k).mean() - moment(k)) < 5 * sigma
    assert x.min() >= 0
    assert x.max() <= 1


def test_each_pair_has_its_own_lambda_from_its_generator() -> None:
    one, two, other = (mixup.draw(np.random.default_rng(seed), 50, 0.2) for seed in (1, 1, 2))

    assert len(set(one.tolist())) > 40
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
