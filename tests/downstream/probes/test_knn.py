"""The nearest-neighbour probe against loops over NumPy arrays and scikit-learn's classifier."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from downstream.__main__ import main
from downstream.probes import knn


def problem(seed: int, n: int = 70, m: int = 33, d: int = 6, k: int = 4) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    labels, centres = rng.integers(0, k, n), rng.normal(size=(k, d))
    x = centres[labels] + rng.normal(size=(n, d))
    queries = centres[rng.integers(0, k, m)] + rng.normal(size=(m, d))
    return x * rng.uniform(0.1, 9, (n, 1)), labels, queries  # lengths do not matter


def votes(x: np.ndarray, labels: np.ndarray, queries: np.ndarray, ks: tuple, temperature: float):
    found = knn.votes(
        *map(torch.from_numpy, (x, labels)), 4, torch.from_numpy(queries), ks, temperature
    )
    return {k: v.numpy() for k, v in found.items()}


@pytest.mark.parametrize("seed", range(3))
def test_votes_by_loops(seed: int):
    x, labels, queries = problem(seed)
    found = votes(x, labels, queries, (3, 10), 0.07)
    for row, query in enumerate(queries):
        similarity = [float(query @ one / np.linalg.norm(query) / np.linalg.norm(one)) for one in x]
        for k in (3, 10):
            expected = np.zeros(4)
            for i in sorted(range(len(x)), key=lambda i: -similarity[i])[:k]:
                expected[labels[i]] += np.exp(similarity[i] / 0.07)
            # votes are relative to the nearest neighbour's
            np.testing.assert_allclose(
                found[k][row], expected / np.exp(max(similarity) / 0.07), rtol=1e-9, atol=1e-12
            )


def test_at_a_high_temperature_all_votes_count_alike():
    x, labels, queries = problem(5)
    found = votes(x, labels, queries, (5,), 1e9)[5]
    peer = KNeighborsClassifier(5, metric="cosine").fit(x, labels)
    np.testing.assert_allclose(found / 5, peer.predict_proba(queries), atol=1e-6)


def test_more_neighbours_than_samples():
    x, labels, queries = problem(1, n=8)
    np.testing.assert_allclose(votes(x, labels, queries, (20,), 1e9)[20].sum(axis=1), 8)


def test_nothing_overflows_at_a_low_temperature():
    x, labels, queries = problem(2)
    found = votes(x.astype(np.float32), labels, queries.astype(np.float32), (10,), 1e-4)[10]
    assert np.isfinite(found).all()
    cosine = (queries / np.linalg.norm(queries, axis=1)[:, None]) @ (
        x / np.linalg.norm(x, axis=1)[:, None]
    ).T
    assert (found.argmax(axis=1) == labels[cosine.argmax(axis=1)]).mean() > 0.9


@pytest.mark.parametrize(("count", "size"), [(7, 3), (6, 3), (2, 5)])
def test_chunks_cover_everything_once(count: int, size: int):
    covered = [i for rows in knn.chunks(count, size) for i in range(count)[rows]]
    assert covered == list(range(count))


@pytest.mark.usefixtures("tiny_protocol", "clean_environment")
@pytest.mark.parametrize("chunk", [1, 2**26])
def test_the_record(chunk: int, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(knn, "CHUNK", chunk)
    words = ["probe", "--mode", "knn", "--backbone", "random:resnet10d_narrow", "--workers", "0"]
    where = ["--dataset", "cifar10", "--data", str(data_root), "--runs", str(tmp_path)]
    assert main([*words, *where]) == 0
    (path,) = tmp_path.glob("demo/knn-cifar10/*/seed0/record.json")
    found = json.loads(path.read_text())
    assert found["stage"] == "knn"
    assert set(found["metrics"]) == {"top1", "top1@k=10", "top1@k=20"}
    assert found["metrics"]["top1"] == found["metrics"]["top1@k=20"]
    assert found["metrics"]["top1"]["samples"] == 20
    assert found["config"]["ks"] == [10, 20]
    # by hand, from the saved features
    kept = {len(x): x for x in map(np.load, (tmp_path / "demo/features").glob("*.npy"))}
    from pretrain.images import datasets

    train, test = (datasets.load("demo/cifar10", data_root, role) for role in ("train", "test"))
    peer = KNeighborsClassifier(
        10, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07)
    ).fit(kept[40], train.labels)
    expected = 100 * (peer.predict(kept[20]) == test.labels).mean()
    assert found["metrics"]["top1@k=10"]["value"] == pytest.approx(expected)
