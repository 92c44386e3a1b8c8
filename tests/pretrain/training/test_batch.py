"""A micro-batch's pixels and targets, compared with NumPy for the mixture that was drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pretrain.recipe import Recipe
from pretrain.training import batch

K = 5
Batch = tuple[torch.Tensor, torch.Tensor]
ALPHAS = {"mixup": (0.4, 0.0), "cutmix": (0.0, 1.0), "both": (0.4, 1.0)}


@pytest.fixture
def raw() -> Batch:
    """Ten images of 8 pixels, some of the same class."""
    rng = np.random.default_rng(8)
    images = rng.integers(0, 256, (10, 3, 8, 8), dtype=np.uint8)
    return torch.from_numpy(images), torch.from_numpy(rng.integers(0, K, 10))


def settings(base: Recipe, mixing: str = "both", **changes: object) -> Recipe:
    mixup, cutmix = ALPHAS[mixing]
    values = dict(mixup_alpha=mixup, cutmix_alpha=cutmix, hsv_jitter=0.0, pca_noise=0.0)
    return replace(base, **(values | changes))


def normalised(images: torch.Tensor, recipe: Recipe) -> np.ndarray:
    mean, std = (np.array(m)[:, None, None] for m in (recipe.mean, recipe.std))
    return (images.numpy() / 255 - mean) / std


def smoothed(labels: torch.Tensor, eps: float) -> np.ndarray:
    q = np.full((len(labels), K), eps / (K - 1))
    q[np.arange(len(labels)), labels.numpy()] = 1 - eps
    return q


def mixed(x: np.ndarray, mixture: batch.Mixture) -> np.ndarray:
    """One example at a time: mixup with its lambda, then the pixels in its box replaced."""
    out = []
    for i, partner in enumerate(mixture.partner.tolist()):
        lam = mixture.lam[i].item()
        one = lam * x[i] + (1 - lam) * x[partner]
        left, upper, right, lower = mixture.boxes[i].tolist()
        one[:, upper:lower, left:right] = x[partner][:, upper:lower, left:right]
        out.append(one)
    return np.stack(out)


def mixed_targets(q: np.ndarray, mixture: batch.Mixture, side: int, loss: str) -> np.ndarray:
    out = []
    for i, partner in enumerate(mixture.partner.tolist()):
        left, upper, right, lower = mixture.boxes[i].tolist()
        share = mixture.lam[i].item() * (1 - (right - left) * (lower - upper) / side**2)
        if loss == "ce":
            out.append(share * q[i] + (1 - share) * q[partner])
        elif share in (0, 1):
            out.append(q[i] if share else q[partner])
        else:
            positive = {int(q[i].argmax()), int(q[partner].argmax())}
            out.append([q.max() if k in positive else q.min() for k in range(K)])
    return np.array(out)


@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize("loss", ["ce", "bce"])
@pytest.mark.parametrize("mixing", ALPHAS)
def test_pixels_and_targets_are_numpys(
    tiny_recipe: Recipe, raw: Batch, mixing: str, loss: str, eps: float
) -> None:
    images, labels = raw
    recipe = settings(tiny_recipe, mixing, loss=loss, label_smoothing=eps)

    for seed in range(8):
        mixture = batch.draw(recipe, np.random.default_rng(seed), 10, 8)
        x, q = batch.prepare(recipe, images, labels, K, np.random.default_rng(seed))

        expected = mixed(normalised(images, recipe), mixture)
        np.testing.assert_allclose(x.numpy(), expected, rtol=1e-5, atol=1e-5)
        targets = mixed_targets(smoothed(labels, eps), mixture, 8, loss)
        np.testing.assert_allclose(q.numpy(), targets, rtol=1e-5, atol=1e-6)
        if loss == "ce":
            np.testing.assert_allclose(q.sum(dim=1).numpy(), 1, rtol=1e-5)


@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_a_share_of_0_or_1_has_one_examples_pixels_and_target(
    tiny_recipe: Recipe, raw: Batch, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = raw
    boxes = torch.zeros(10, 4, dtype=torch.int64)
    boxes[1] = torch.tensor([0, 0, 8, 8])  # CutMix that leaves nothing
    lam = torch.ones(10)
    lam[2] = 0.0  # mixup that leaves nothing
    share = torch.ones(10)
    share[1:3] = 0.0
    mixture = batch.Mixture(torch.arange(10).roll(-1), lam, boxes, share)
    monkeypatch.setattr(batch, "draw", lambda *_: mixture)
    recipe = settings(tiny_recipe, loss=loss, label_smoothing=0.1)

    x, q = batch.prepare(recipe, images, labels, K, np.random.default_rng(0))

    order = [0, 2, 3, 3, 4, 5, 6, 7, 8, 9]
    np.testing.assert_allclose(x.numpy(), normalised(images[order], recipe), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(q.numpy(), smoothed(labels[order], 0.1), rtol=1e-5)


@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_without_mixing_there_are_normalised_pixels_and_smoothed_targets(
    tiny_recipe: Recipe, raw: Batch, loss: str
) -> None:
    images, labels = raw
    recipe = settings(tiny_recipe, loss=loss, mixup_alpha=0.0, cutmix_alpha=0.0)
    assert batch.draw(recipe, np.random.default_rng(0), 10, 8) is None

    x, q = batch.prepare(recipe, images, labels, K, np.random.default_rng(0))

    np.testing.assert_allclose(x.numpy(), normalised(images, recipe), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(q.numpy(), smoothed(labels, 0.1), rtol=1e-5)
    assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("mixing", ALPHAS)
def test_colour_comes_before_mixing_so_each_image_has_its_own(
    tiny_recipe: Recipe, raw: Batch, mixing: str
) -> None:
    images, labels = raw
    recipe = settings(tiny_recipe, mixing, hsv_jitter=0.4, pca_noise=0.1)
    rng = np.random.default_rng(3)
    coloured = batch.pixels_of(recipe, images, rng).numpy()
    mixture = batch.draw(recipe, rng, 10, 8)
    assert np.abs(coloured - normalised(images, recipe)).max() > 0.1

    x, _ = batch.prepare(recipe, images, labels, K, np.random.default_rng(3))

    np.testing.assert_allclose(x.numpy(), mixed(coloured, mixture), rtol=1e-5, atol=1e-5)


def test_each_example_gets_mixup_or_cutmix_at_even_odds(tiny_recipe: Recipe) -> None:
    n = 20_000
    recipe = settings(tiny_recipe, mixup_alpha=1.0)
    drawn = batch.draw(recipe, np.random.default_rng(1), n, 1000)

    area = (drawn.boxes[:, 2:] - drawn.boxes[:, :2]).prod(dim=1)
    cut, blended = area > 0, drawn.lam < 1
    assert not torch.any(cut & blended)
    for turn in (cut, blended):  # of a thousand pixels, next to no box is empty
        assert abs(turn.double().mean().item() - 0.5) < 5 * 0.5 / np.sqrt(n) + 1e-3
    # the mean share that is kept: half of mixup's 1/2, half of CutMix's 1 - 0.32083
    left = drawn.share.double()
    expected = (0.5 + 1 - 2 * (1 / 4 - 1 / 10 + 1 / 96)) / 2
    assert abs(left.mean().item() - expected) < 5 * left.std().item() / np.sqrt(n)


@pytest.mark.parametrize("mixing", ALPHAS)
def test_the_share_is_lambda_times_what_the_box_leaves(tiny_recipe: Recipe, mixing: str) -> None:
    drawn = batch.draw(settings(tiny_recipe, mixing), np.random.default_rng(2), 500, 32)

    width, height = (drawn.boxes[:, 2:] - drawn.boxes[:, :2]).double().T
    expected = drawn.lam.double() * (1 - width * height / 32**2)
    np.testing.assert_allclose(drawn.share.numpy(), expected.numpy(), atol=1e-6)
    if mixing == "mixup":
        assert drawn.boxes.abs().max() == 0
    if mixing == "cutmix":
        assert torch.all(drawn.lam == 1)


@pytest.mark.parametrize("mixing", ALPHAS)
def test_each_example_is_one_examples_partner(tiny_recipe: Recipe, mixing: str) -> None:
    seen = set()
    for seed in range(20):
        drawn = batch.draw(settings(tiny_recipe, mixing), np.random.default_rng(seed), 50, 32)
        assert sorted(drawn.partner.tolist()) == list(range(50))
        assert len(drawn.share) == len(drawn.lam) == len(drawn.boxes) == 50
        seen.add(tuple(drawn.partner.tolist()))
    assert len(seen) == 20


def test_what_is_random_follows_the_generator(tiny_recipe: Recipe, raw: Batch) -> None:
    recipe = replace(tiny_recipe, cutmix_alpha=1.0)
    (x1, q1), (x2, q2), (x3, q3) = (
        batch.prepare(recipe, *raw, K, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )

    assert torch.equal(x1, x2)
    assert torch.equal(q1, q2)
    assert not torch.equal(x1, x3)
    assert not torch.equal(q1, q3)


@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_the_loss_against_targets_is_numpys(tiny_recipe: Recipe, loss: str) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(0, 2, (6, K))
    q = rng.dirichlet(np.ones(K), 6)

    found = batch.loss_against_targets(
        replace(tiny_recipe, loss=loss), torch.from_numpy(z), torch.from_numpy(q)
    )

    if loss == "ce":
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        expected = -(q * log_p).sum(axis=1).mean()
    else:
        p = 1 / (1 + np.exp(-z))
        expected = -(q * np.log(p) + (1 - q) * np.log(1 - p)).mean()
    assert found.item() == pytest.approx(expected, rel=1e-9)
