"""The learning rate of every step, compared with NumPy and values by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from pretrain import recipe
from pretrain.recipe import Recipe
from pretrain.training.lr_schedule import learning_rate, of_epoch, total_steps

IMAGES = 1_281_167


def by_numpy(settings: Recipe, per_epoch: int) -> np.ndarray:
    """The learning rate of every step of a training."""
    total = round(settings.epochs * per_epoch)
    warmup = round(settings.warmup_epochs * per_epoch)
    peak = settings.lr * (settings.batch_size / 256 if settings.linear_scaling else 1)
    t = np.arange(total)
    if settings.lr_decay == "step":
        after = peak / 10.0 ** (4 * t // total)
    else:
        after = peak * 0.5 * (1 + np.cos(np.pi * (t - warmup) / (total - warmup)))
    return np.where(t < warmup, peak * (t + 1) / max(1, warmup), after)


@pytest.mark.parametrize("per_epoch", [1, 7, 40])
@pytest.mark.parametrize(
    "name",
    ["b-standard", "bs256-linear-scaling", "bs1024-warmup", "cosine", "best", "a1", "a2", "a3"],
)
def test_learning_rate_of_every_step(name: str, per_epoch: int) -> None:
    settings = recipe.load(name, "paper", {})
    expected = by_numpy(settings, per_epoch)
    assert total_steps(settings, per_epoch) == len(expected) == settings.epochs * per_epoch

    found = [learning_rate(settings, step, per_epoch) for step in range(len(expected))]

    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("per_epoch", "points"), [(1, 1), (49, 49), (50, 50), (51, 50), (1251, 50)]
)
@pytest.mark.parametrize("name", ["d-efficient", "cosine"])
def test_a_history_has_an_epochs_ends_and_few_points_between(
    name: str, per_epoch: int, points: int
) -> None:
    """The third of five warm-up epochs to 0.4, of 120 epochs."""
    found = np.array(of_epoch(recipe.load(name, "paper", {}), 3 * per_epoch, per_epoch))

    steps = np.round(found[:, 0] * per_epoch)
    np.testing.assert_allclose(found[:, 0] * per_epoch, steps, atol=1e-9)
    assert (steps[0], steps[-1], len(steps)) == (2 * per_epoch, 3 * per_epoch - 1, points)
    assert (np.diff(steps) >= 1).all()
    np.testing.assert_allclose(found[:, 1], 0.4 * (steps + 1) / (5 * per_epoch), rtol=1e-9)


def test_an_epoch_that_is_cut_short_has_the_steps_that_it_had() -> None:
    settings = replace(recipe.load("cosine", "paper", {}), epochs=2.4)
    assert [at for at, _ in of_epoch(settings, 12, 5)] == [10 / 5, 11 / 5]


def test_b_standard_by_hand() -> None:
    """5004 batches of 256 per epoch; drops at epochs 30, 60, 90 of 120."""
    settings, n = recipe.load("b-standard", "paper", {}), IMAGES // 256
    assert n == 5004
    for epoch, lr in ((0, 0.1), (30, 0.01), (60, 0.001), (90, 0.0001)):
        assert learning_rate(settings, epoch * n, n) == pytest.approx(lr)
        if epoch:
            assert learning_rate(settings, epoch * n - 1, n) == pytest.approx(10 * lr)
    assert learning_rate(settings, 120 * n - 1, n) == pytest.approx(0.0001)


@pytest.mark.parametrize(
    ("batch", "peak"),
    [(256, 0.1), (1024, 0.4)],  # the paper's example
)
@pytest.mark.parametrize("row", ["linear-scaling", "warmup", "zero-gamma", "no-bias-decay", "fp16"])
def test_table_4_by_hand(row: str, batch: int, peak: float) -> None:
    settings, n = recipe.load(f"bs{batch}-{row}", "paper", {}), IMAGES // batch

    if row == "linear-scaling":
        assert learning_rate(settings, 0, n) == pytest.approx(peak)
    else:
        assert learning_rate(settings, 0, n) == pytest.approx(peak / (5 * n))
        assert learning_rate(settings, 5 * n // 2 - 1, n) == pytest.approx(peak / 2, rel=1e-3)
    for epoch, factor in ((5, 1), (29, 1), (30, 0.1), (60, 0.01), (90, 0.001), (119, 0.001)):
        assert learning_rate(settings, epoch * n, n) == pytest.approx(factor * peak)


def test_warm_up_and_cosine_by_hand() -> None:
    """1251 batches of 1024 per epoch: to 0.4 in 6255 batches, then along a cosine to 0."""
    settings, n = recipe.load("cosine", "paper", {}), IMAGES // 1024
    warmup, total = 5 * n, 120 * n

    def lr(step: int) -> float:
        return learning_rate(settings, step, n)

    assert lr(0) == pytest.approx(0.4 / 6255)
    assert lr(999) == pytest.approx(0.4 * 1000 / 6255)
    assert lr(warmup - 1) == pytest.approx(0.4)
    assert lr(warmup) == pytest.approx(0.4), "t = 0"
    assert lr((warmup + total) // 2) == pytest.approx(0.2, rel=1e-3)
    # (1 + cos(pi - d)) / 2 is about d^2 / 4
    last = 0.4 * (math.pi / (total - warmup)) ** 2 / 4
    assert lr(total - 1) == pytest.approx(last, rel=1e-3, abs=0)


@pytest.mark.parametrize(("name", "peak", "epochs"), [("a1", 5e-3, 600), ("a3", 8e-3, 100)])
def test_strikes_back_by_hand(name: str, peak: float, epochs: int) -> None:
    """625 batches of 2048 per epoch: the peak after 5 epochs, half of it halfway to the end."""
    settings, n = recipe.load(name, "paper", {}), IMAGES // 2048
    assert n == 625
    assert total_steps(settings, n) == epochs * n

    assert learning_rate(settings, 0, n) == pytest.approx(peak / 3125)
    assert learning_rate(settings, 5 * n - 1, n) == pytest.approx(peak)
    middle = 5 * n + (epochs - 5) * n // 2
    assert learning_rate(settings, middle, n) == pytest.approx(peak / 2, rel=1e-3)
    assert learning_rate(settings, epochs * n - 1, n) < 1e-6 * peak


def test_linear_scaling_follows_the_batch_only_where_the_recipe_says_so() -> None:
    for name, factor in (("bs1024-linear-scaling", 2), ("b-standard", 1), ("a2", 1)):
        one = recipe.load(name, "paper", {})
        two = replace(one, batch_size=2 * one.batch_size)
        found = [learning_rate(r, 50, 5) for r in (one, two)]
        assert found[1] == pytest.approx(factor * found[0])


@pytest.mark.parametrize("protocol", ["demo", "mini"])
def test_a_protocols_peak_keeps_the_rule(protocol: str) -> None:
    """A batch of 1024 has four times the learning rate of a batch of 256."""
    one, four = (recipe.load(f"bs{batch}-linear-scaling", protocol, {}) for batch in (256, 1024))

    assert learning_rate(four, 0, 9) == pytest.approx(4 * learning_rate(one, 0, 9))


def test_a_training_shorter_than_its_warm_up_only_warms_up(tiny_recipe: Recipe) -> None:
    settings = replace(tiny_recipe, epochs=1, warmup_epochs=2)

    found = [learning_rate(settings, step, 3) for step in range(3)]

    assert found == pytest.approx([0.05 * k / 6 for k in (1, 2, 3)])


@pytest.mark.parametrize(
    ("epochs", "per_epoch", "steps"), [(1 / 15, 30, 2), (0.5, 3, 2), (0.01, 3, 1), (1.5, 4, 6)]
)
def test_fractions_of_an_epoch_are_rounded_to_steps(
    tiny_recipe: Recipe, epochs: float, per_epoch: int, steps: int
) -> None:
    assert total_steps(replace(tiny_recipe, epochs=epochs), per_epoch) == steps
