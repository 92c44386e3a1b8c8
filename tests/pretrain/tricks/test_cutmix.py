"""CutMix: boxes by hand, moments of their area by quadrature, pasting by a loop, timm as a peer."""

import numpy as np
import pytest
import torch
from timm.data.mixup import rand_bbox

from pretrain.tricks import cutmix


class Scripted:
    """A generator that returns a test's lambdas and centres."""

    def __init__(self, lam: list[float], centre: list[tuple[int, int]]) -> None:
        self.lam, self.centre = np.array(lam), np.array(centre)

    def beta(self, *_: float) -> np.ndarray:
        return self.lam

    def integers(self, low: int, high: int, shape: tuple[int, int]) -> np.ndarray:
        assert shape == self.centre.shape
        assert self.centre.min() >= low
        assert self.centre.max() < high
        return self.centre


@pytest.mark.parametrize(
    ("lam", "centre", "box", "left_over"),
    [
        (0.84, (5, 5), (3, 3, 7, 7), 0.84),  # a side of 10 sqrt(0.16) = 4
        (0.84, (0, 9), (0, 7, 2, 10), 0.94),  # clipped at the left and below to 2 x 3
        (0.75, (5, 2), (2, 0, 8, 4), 0.76),  # a side of 5: 2.5 to 7.5, and ties go to even
        (0.0, (5, 5), (0, 0, 10, 10), 0.0),
        (0.0, (0, 0), (0, 0, 5, 5), 0.75),
        (1.0, (3, 8), (3, 8, 3, 8), 1.0),  # empty
    ],
)
def test_boxes_by_hand(
    lam: float, centre: tuple[int, int], box: tuple[int, ...], left_over: float
) -> None:
    boxes, found = cutmix.draw(Scripted([lam], [centre]), 1, 1.0, 10)

    assert boxes.tolist() == [list(box)]
    assert found.item() == pytest.approx(left_over, rel=1e-6)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("side", [1, 7, 32, 224])
def test_lambda_is_the_share_of_pixels_that_are_kept(side: int) -> None:
    n = 300
    boxes, lam = cutmix.draw(np.random.default_rng(side), n, 1.0, side)
    mine, theirs = torch.zeros(n, 1, side, side), torch.ones(n, 1, side, side)

    kept = 1 - cutmix.paste(mine, theirs, boxes).mean(dim=(1, 2, 3))

    np.testing.assert_allclose(lam.numpy(), kept.numpy(), atol=1e-6)
    assert boxes.min() >= 0
    assert boxes.max() <= side
    assert torch.all(boxes[:, :2] <= boxes[:, 2:])
    assert torch.all((lam >= 0) & (lam <= 1))


def test_an_unclipped_box_is_a_square_of_area_1_minus_lambda_around_its_centre() -> None:
    n, side = 2000, 1000
    rng = np.random.default_rng(3)
    drawn = rng.beta(1, 1, n)
    centre = rng.integers(0, side, (n, 2))
    boxes, _ = cutmix.draw(Scripted(list(drawn), list(centre)), n, 1.0, side)

    left, upper, right, lower = boxes.numpy().T
    inside = (left > 0) & (upper > 0) & (right < side) & (lower < side)
    assert inside.sum() > 250, "a sixth: the mean of (1 - r)^2"
    width, height = (right - left)[inside], (lower - upper)[inside]
    np.testing.assert_allclose(width, side * np.sqrt(1 - drawn[inside]), atol=1)
    np.testing.assert_allclose(height, width, atol=1)
    np.testing.assert_allclose((left + right)[inside] / 2, centre[inside, 0], atol=0.5)
    np.testing.assert_allclose((upper + lower)[inside] / 2, centre[inside, 1], atol=0.5)


def test_centres_are_uniform_and_independent() -> None:
    """Seen on boxes of two pixels: chi squared of 10 x 10 cells, 99 degrees of freedom."""

    class Small(Scripted):
        def __init__(self) -> None:
            self.integers = np.random.default_rng(0).integers

        def beta(self, *_: float) -> np.ndarray:
            return np.full(n, 1 - 0.02**2)

    n, side = 20_000, 100
    boxes, _ = cutmix.draw(Small(), n, 1.0, side)

    left, upper, right, lower = boxes.numpy().T
    x, y = np.maximum(left, right - 1), np.maximum(upper, lower - 1)  # the pixel right of it
    counts, _, _ = np.histogram2d(x, y, bins=10, range=((0, 100), (0, 100)))
    chi2 = ((counts - n / 100) ** 2 / (n / 100)).sum()
    assert chi2 < 99 + 5 * np.sqrt(2 * 99)


def theory(alpha: float, power: int) -> float:
    """The mean of the replaced share or of its square, by quadrature.

    For a side r and a centre uniform in [0, 1], the clipped side has mean r - r^2 / 4, and its
    square has mean r^2 - 5 r^3 / 12. The two sides of a box are independent given
    r = sqrt(1 - lambda), and 1 - lambda has the distribution of lambda.
    """
    # v = u^alpha removes the pole of Beta(alpha, alpha)'s density at 0; the density is symmetric
    v = (np.arange(400_000) + 0.5) / 400_000 * 0.5**alpha
    u = v ** (1 / alpha)
    weight = (1 - u) ** (alpha - 1)

    def given(area: np.ndarray) -> np.ndarray:
        r = np.sqrt(area)
        return (r - r**2 / 4) ** 2 if power == 1 else (r**2 - 5 * r**3 / 12) ** 2

    return float((weight * (given(u) + given(1 - u))).sum() / (2 * weight.sum()))


def test_the_theory_by_hand_at_alpha_1() -> None:
    """r has the density 2 r: 2 (1/4 - 1/10 + 1/96), and 2 (1/6 - 5/42 + 25/1152)."""
    assert theory(1.0, 1) == pytest.approx(2 * (1 / 4 - 1 / 10 + 1 / 96), rel=1e-6)
    assert theory(1.0, 2) == pytest.approx(2 * (1 / 6 - 5 / 42 + 25 / 1152), rel=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_the_replaced_area_has_the_moments_of_the_theory(alpha: float) -> None:
    n = 200_000
    _, lam = cutmix.draw(np.random.default_rng(1), n, alpha, 100_000)

    area = 1 - lam.double().numpy()

    for power in (1, 2):
        sample = area**power
        assert abs(sample.mean() - theory(alpha, power)) < 5 * sample.std() / np.sqrt(n)


def test_the_replaced_area_has_timms_distribution() -> None:
    """The two-sample Kolmogorov-Smirnov test."""
    n, side = 4000, 224
    _, lam = cutmix.draw(np.random.default_rng(2), n, 1.0, side)
    np.random.seed(0)  # noqa: NPY002
    theirs = []
    for drawn in np.random.default_rng(9).beta(1, 1, n):
        upper, lower, left, right = rand_bbox((3, side, side), drawn)
        theirs.append((lower - upper) * (right - left) / side**2)

    ours, theirs = np.sort(1 - lam.numpy()), np.sort(theirs)
    at = np.concatenate([ours, theirs])
    below = [np.searchsorted(x, at, side="right") / n for x in (ours, theirs)]
    assert np.abs(below[0] - below[1]).max() < 1.95 * np.sqrt(2 / n), "p = 0.001"


def test_paste_is_a_loop_over_pixels() -> None:
    rng = np.random.default_rng(0)
    images, others = rng.normal(size=(2, 5, 3, 6, 8)).astype(np.float32)
    boxes = [[0, 0, 8, 6], [2, 1, 5, 4], [3, 3, 3, 3], [7, 5, 8, 6], [0, 2, 8, 3]]

    found = cutmix.paste(torch.from_numpy(images), torch.from_numpy(others), torch.tensor(boxes))

    expected = images.copy()
    for i, (left, upper, right, lower) in enumerate(boxes):
        for y in range(upper, lower):
            for x in range(left, right):
                expected[i, :, y, x] = others[i, :, y, x]
    np.testing.assert_array_equal(found.numpy(), expected)


def test_an_empty_box_is_the_identity() -> None:
    images, others = torch.rand(2, 4, 3, 5, 5)
    boxes = torch.tensor([[0, 0, 0, 0], [5, 5, 5, 5], [2, 0, 2, 5], [0, 3, 5, 3]])

    assert torch.equal(cutmix.paste(images, others, boxes), images)


def test_boxes_depend_on_the_generator_only() -> None:
    one, two, other = (cutmix.draw(np.random.default_rng(s), 20, 1.0, 64) for s in (1, 1, 2))

    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[0], other[0])
    assert len(set(one[1].tolist())) > 15, "each example has its own box"
