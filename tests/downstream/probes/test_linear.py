"""The linear probe against scikit-learn, batches of penalties, and the choice of a penalty."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from sklearn.linear_model import LogisticRegression

from downstream.__main__ import main
from downstream.probes import linear, logistic
from pretrain.images import datasets, splits
from pretrain.images.datasets import ImageSet


def _problem(seed: int, n: int = 120, d: int = 8, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clusters of features with very different scales; one feature is constant."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % k)
    x = rng.normal(size=(k, d))[labels] + rng.normal(size=(n, d))
    x = x * rng.uniform(0.1, 10, d) + rng.uniform(-5, 5, d)
    x[:, 3] = 2.5
    return x, labels


def _standardised(x: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    reference = x if reference is None else reference
    deviation = reference.std(axis=0)
    return (x - reference.mean(axis=0)) / np.where(deviation > 0, deviation, 1)


def _peer(x: np.ndarray, labels: np.ndarray, penalty: float) -> LogisticRegression:
    # N (mean loss + penalty / 2 |W|^2) is scikit-learn's objective with C = 1 / (N penalty), over C
    solver = LogisticRegression(C=1 / (len(x) * penalty), tol=1e-10, max_iter=20_000)
    return solver.fit(x, labels)


def _objective(weight: np.ndarray, bias: np.ndarray, x: np.ndarray, labels: np.ndarray, penalty):
    logits = x @ weight + bias
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(labels)), labels].mean() + penalty / 2 * (weight**2).sum()


PENALTIES = [1e-4, 1e-2, 1.0, 30.0]


@pytest.mark.parametrize("seed", range(3))
def test_the_fit_is_scikit_learns(seed: int):
    x, labels = _problem(seed)
    probes = linear.fit(torch.from_numpy(x), torch.from_numpy(labels), 4, PENALTIES)
    standard = _standardised(x)
    for penalty, probe in zip(PENALTIES, probes, strict=True):
        peer = _peer(standard, labels, penalty)
        ours = _objective(probe.weight.numpy(), probe.bias.numpy(), standard, labels, penalty)
        best = _objective(peer.coef_.T, peer.intercept_, standard, labels, penalty)
        assert ours == pytest.approx(best, rel=1e-6)
        found = probe.logits(torch.from_numpy(x)).softmax(dim=1).numpy()
        np.testing.assert_allclose(found, peer.predict_proba(standard), atol=5e-4)


GRID = [10.0**k for k in range(-6, 3)]


def _like_a_networks(n: int, d: int, k: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Ill-conditioned standardised features: variances fall with a power of their rank."""
    rng = np.random.default_rng(n + d)
    labels = rng.permutation(np.arange(n) % k)
    x = rng.normal(size=(n, d)) + spread * rng.normal(size=(k, d))[labels]
    x = x * np.arange(1, d + 1) ** -1.0
    return _standardised(np.maximum(x @ np.linalg.qr(rng.normal(size=(d, d)))[0], -0.1)), labels


@pytest.mark.parametrize(
    ("n", "d", "k", "spread"),
    [
        (400, 20, 3, 0.2),  # overlapping
        (300, 40, 5, 3.0),  # separable: hardly a loss at the weakest penalties
        (60, 100, 4, 0.5),  # fewer samples than features
        (500, 60, 12, 0.6),
    ],
)
def test_every_penalty_of_the_grid_reaches_scikit_learns_objective(n, d, k, spread):
    x, labels = _like_a_networks(n, d, k, spread)
    weights, biases = logistic.solve(torch.from_numpy(x), torch.from_numpy(labels), k, GRID)
    assert weights.shape == (9, k, d)
    for weight, bias, penalty in zip(weights, biases, GRID, strict=True):
        peer = LogisticRegression(C=1 / (n * penalty), tol=1e-9, max_iter=50_000).fit(x, labels)
        best = _objective(peer.coef_.T, peer.intercept_, x, labels, penalty)
        ours = _objective(weight.numpy().T, bias.numpy(), x, labels, penalty)
        assert ours <= best * (1 + 1e-6), penalty
        assert ours >= best * (1 - 1e-4), penalty  # the peer's own last digits


def test_a_batch_is_what_each_penalty_is_alone(monkeypatch: pytest.MonkeyPatch):
    x, labels = _like_a_networks(200, 20, 3, 0.5)
    given = torch.from_numpy(x), torch.from_numpy(labels), 3
    together = logistic.solve(*given, GRID)[0]
    monkeypatch.setattr(logistic, "BATCH_BYTES", 1)  # then each is a batch of its own
    alone = logistic.solve(*given, GRID)[0]
    for one, other, penalty in zip(together, alone, GRID, strict=True):
        np.testing.assert_allclose(
            one, other, atol=0.03 * float(other.abs().max()), err_msg=penalty
        )


def test_the_cross_entropy_and_its_gradient():
    generator = torch.Generator().manual_seed(0)
    logits = 20 * torch.randn(2, 5, 7, generator=generator, dtype=torch.float64)
    logits[1] += 1000  # nothing overflows
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    logits.requires_grad_()
    expected = torch.stack([torch.nn.functional.cross_entropy(one.T, labels) for one in logits])
    (gradient,) = torch.autograd.grad(expected.sum(), logits)
    value, slopes = logistic.losses(logits.detach(), labels)
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(slopes / 7, gradient, rtol=1e-9, atol=1e-15)
    p = logits.detach().softmax(dim=1)
    torch.testing.assert_close(
        logistic.curvature(slopes), (p * (1 - p)).mean(dim=2).clamp_min(1e-9), rtol=1e-6, atol=1e-12
    )


def test_a_gradient_keeps_its_digits_where_a_probability_is_nearly_one():
    logits = torch.tensor([[[0.0], [40.0]]])  # exp(-40) is far below the rounding of 1 - p
    _, slopes = logistic.losses(logits, torch.tensor([1]))
    assert slopes[0, 1, 0].item() == pytest.approx(-np.exp(-40), rel=1e-5)


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
def test_principal_axes_span_the_features(shape: tuple[int, int]):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=shape))
    axes = logistic.principal_axes(x)
    rank = min(shape)
    torch.testing.assert_close(axes.T @ axes, torch.eye(rank, dtype=x.dtype))
    torch.testing.assert_close(x @ axes @ axes.T, x)
    turned = axes.T @ x.T @ x @ axes
    torch.testing.assert_close(turned, torch.diag(torch.diag(turned)))


def test_the_objective_by_hand():
    # two samples, two classes: -log(e^1 / (e^1 + e^0)) and -log(1/2), and 0.1 / 2 * 9
    logits = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    found = linear.objective(logits, torch.tensor([0, 1]), torch.tensor([[3.0, 0.0]]), 0.1)
    expected = (np.log(1 + np.exp(-1)) + np.log(2)) / 2 + 0.45
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_probes_come_back_in_the_order_of_their_penalties():
    x, labels = (torch.from_numpy(a) for a in _problem(0))
    mixed = [1e-2, 30.0, 1e-4]
    probes = linear.fit(x, labels, 4, mixed)
    norms = [probe.weight.norm().item() for probe in probes]
    assert norms[1] < norms[0] < norms[2]


def test_separable_classes_with_hardly_a_penalty():
    # large weights and saturated probabilities do not overflow
    x = np.repeat(np.eye(3), 5, axis=0)
    labels = np.repeat(np.arange(3), 5)
    (probe,) = linear.fit(torch.from_numpy(x), torch.from_numpy(labels), 3, [1e-6])
    found = probe.logits(torch.from_numpy(x))
    assert torch.isfinite(found).all()
    assert (found.argmax(dim=1).numpy() == labels).all()


def test_the_penalty_is_chosen_on_the_part_held_out():
    x, labels = _problem(5, n=200)
    settings = Config(dict(held_out=0.25, penalties=PENALTIES))
    penalty, scores = linear.choose(
        torch.from_numpy(x), torch.from_numpy(labels), 4, settings, seed=9
    )
    kept, held = splits.per_class_split(labels, 0.25, 9)
    assert sorted([*kept, *held]) == list(range(200))
    np.testing.assert_array_equal(np.bincount(labels[held]), [12, 12, 12, 12])  # of 50 each
    expected = []
    for candidate in PENALTIES:
        peer = _peer(_standardised(x[kept]), labels[kept], candidate)
        guesses = peer.predict(_standardised(x[held], reference=x[kept]))
        expected.append(100 * (guesses == labels[held]).mean())
    assert scores == pytest.approx(expected)
    assert len(set(expected)) > 1
    best = max(expected)
    assert penalty == max(p for p, s in zip(PENALTIES, expected, strict=True) if s == best)


# ---- the command


@pytest.mark.usefixtures("tiny_protocol", "clean_environment")
def test_the_penalty_does_not_see_the_test(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    original = datasets.load
    rotated: list[bool] = []

    def load(name: str, root: Path, role: str) -> ImageSet:
        images = original(name, root, role)
        if role == "test" and rotated:
            return replace(images, labels=(images.labels + 3) % 10)
        return images

    monkeypatch.setattr(datasets, "load", load)
    records = []
    for runs in ("a", "b"):
        where = ["--data", str(data_root), "--runs", str(tmp_path / runs), "--workers", "0"]
        spec = ["--backbone", "random:resnet10d_narrow", "--dataset", "cifar10"]
        assert main(["probe", *spec, *where]) == 0
        (path,) = (tmp_path / runs).glob("demo/linear-cifar10/*/seed0/record.json")
        records.append(json.loads(path.read_text()))
        rotated.append(True)
    first, second = records
    assert first["chosen"] == second["chosen"], "the penalty, and the held-out scores"
    assert first["chosen"]["penalty"] in (1e-3, 1e-1)
    assert first["config"] == second["config"]
    assert first["dataset"]["fingerprint"] != second["dataset"]["fingerprint"]
    assert first["metrics"]["top1"]["value"] != second["metrics"]["top1"]["value"]
