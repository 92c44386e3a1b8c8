"""Transferability scores against the evidence's definition, NumPy and scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf
from sklearn.neighbors import KNeighborsClassifier

from core import record
from core.errors import InputError
from downstream.__main__ import main
from downstream.probes import transferability


def problem(
    seed: int, n: int = 60, d: int = 5, classes: int = 3, apart: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    return apart * rng.normal(size=(classes, d))[labels] + rng.normal(size=(n, d)), labels


def score(name: str, x: np.ndarray, labels: np.ndarray, classes: int = 3) -> float:
    return getattr(transferability, name)(*map(torch.from_numpy, (x, labels)), classes)


@pytest.mark.parametrize(
    ("seed", "n", "d"), [(0, 60, 5), (1, 40, 12), (2, 25, 40)], ids=["", "", "more features"]
)
def test_logme_is_the_largest_evidence(seed: int, n: int, d: int):
    """The evidence is the density of the targets under N(0, I / beta + x x' / alpha)."""
    x, labels = problem(seed, n, d)

    def largest(target: np.ndarray) -> float:
        def negative(logs: np.ndarray) -> float:
            alpha, beta = np.exp(np.clip(logs, -40, 40))
            covariance = np.eye(n) / beta + x @ x.T / alpha
            return -multivariate_normal(np.zeros(n), covariance).logpdf(target)

        starts = ([0.0, 0.0], [2.0, 2.0], [0.0, 3.0])
        found = [minimize(negative, s, method="Nelder-Mead", tol=1e-10) for s in starts]
        return -min(it.fun for it in found) / n

    expected = np.mean([largest((labels == k).astype(float)) for k in range(3)])
    assert score("logme", x, labels) == pytest.approx(expected, abs=1e-5)


def test_logme_of_features_without_full_rank():
    x, labels = problem(3)
    twice = np.concatenate([x, x], axis=1) / np.sqrt(2)  # the same model, with x x' as before
    assert score("logme", twice, labels) == pytest.approx(score("logme", x, labels), abs=1e-6)


@pytest.mark.parametrize(("seed", "n", "d"), [(0, 60, 5), (1, 200, 30), (2, 25, 40)])
def test_h_score_is_numpys_with_scikit_learns_covariance(seed: int, n: int, d: int):
    x, labels = problem(seed, n, d)
    shrunk, shrinkage = ledoit_wolf(x)
    means = np.stack([x[labels == label].mean(axis=0) for label in labels])
    between = np.cov(means.T, bias=True)
    expected = np.trace(np.linalg.inv(shrunk) @ ((1 - shrinkage) * between))
    assert score("h_score", x, labels) == pytest.approx(expected, rel=1e-8)
    assert 0 < expected < 2, "of three classes"


@pytest.mark.parametrize("name", ["logme", "h_score"])
def test_classes_further_apart_score_higher(name: str):
    scores = [score(name, *problem(4, n=300, apart=apart)) for apart in (0.3, 1, 3)]
    assert scores == sorted(scores)


@pytest.mark.parametrize("name", ["logme", "h_score"])
def test_a_class_without_samples_changes_nothing(name: str):
    x, labels = problem(5)
    assert score(name, x, labels, classes=4) == score(name, x, labels)


def test_features_of_nothing_are_refused():
    with pytest.raises(InputError, match="all features are 0"):
        score("logme", np.zeros((9, 4)), np.arange(9) % 3)


@pytest.mark.usefixtures("tiny_protocol", "clean_environment")
def test_the_record(data_root: Path, tmp_path: Path):
    words = ["--backbone", "random:resnet10d_narrow", "--workers", "0", "--dataset", "cifar10"]
    where = ["--data", str(data_root), "--runs", str(tmp_path)]
    assert main(["probe", "--mode", "transferability", *words, *where]) == 0
    (path,) = tmp_path.glob("demo/transferability-cifar10/*/seed0/record.json")
    found = record.read(path)
    assert found.stage == "transferability"
    from pretrain.images import datasets, splits

    train = datasets.load("demo/cifar10", data_root, "train")
    (x,) = (
        x.astype(float)
        for x in map(np.load, (tmp_path / "demo/features").glob("*.npy"))
        if len(x) == len(train)
    )
    classes = len(train.classes)
    for name in ("logme", "h_score"):
        expected = score(name, x, np.asarray(train.labels), classes)
        assert found.metrics[name].value == pytest.approx(expected, rel=1e-9)
        assert (found.metrics[name].unit, found.metrics[name].samples) == ("score", len(train))
    kept, held = splits.validation_split(train.labels, 0.2, 0)
    peer = KNeighborsClassifier(
        20, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07)
    ).fit(x[kept], train.labels[kept])
    expected = 100 * (peer.predict(x[held]) == train.labels[held]).mean()
    assert found.metrics["knn"].value == pytest.approx(expected)
    assert found.metrics["knn"].samples == len(held)
