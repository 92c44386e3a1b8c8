"""The probe against scikit-learn, its choice of penalty, and the features it is fitted on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from sklearn.linear_model import LogisticRegression

from downstream import backbone, features, linear
from downstream.__main__ import main
from pretrain import data
from pretrain.data import ImageSet


def _problem(seed: int, n: int = 120, d: int = 8, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clusters of features with quite different scales, one of them constant."""
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
        np.testing.assert_allclose(found, peer.predict_proba(standard), atol=2e-4)


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
    # the weights grow, the probabilities saturate, nothing overflows
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
    kept, held = data.per_class_split(labels, 0.25, 9)
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


# ---- features


@pytest.fixture
def pictures() -> ImageSet:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(6) % 2
    return ImageSet("s", "s", "train", ("a", "b"), labels, Path("."), pixels=pixels)


def _cached(path: Path, images: ImageSet, folder: Path, **changes: float) -> np.ndarray:
    settings = dict(resolution=32, crop_ratio=1.0) | changes
    return features.cached(
        backbone.load(path), images, folder, workers=0, device=torch.device("cpu"), **settings
    )


def test_features_are_what_the_classifier_would_see(
    exchange: Callable, raw: Callable, pictures: ImageSet, tmp_path: Path
):
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    path = exchange(mean=mean, std=std)
    found = _cached(path, pictures, tmp_path / "features")
    peer = timm.create_model("resnet10d_narrow", num_classes=0).eval()
    peer.load_state_dict({k: v for k, v in raw(path)[0].items() if not k.startswith("fc.")})
    pixels = ((pictures.pixels / 255 - mean) / std).transpose(0, 3, 1, 2)
    with torch.no_grad():
        expected = peer(torch.from_numpy(pixels).float()).numpy()
    assert found.dtype == np.float32
    assert found.shape == (6, 256)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_features_are_extracted_once(
    exchange: Callable, pictures: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path, folder = exchange(), tmp_path / "features"
    first = _cached(path, pictures, folder)
    monkeypatch.setattr(features, "extract", lambda *args: pytest.fail("extracted again"))
    np.testing.assert_array_equal(_cached(path, pictures, folder), first)


def test_all_that_decides_features_is_in_their_key(
    exchange: Callable, pictures: ImageSet, tmp_path: Path
):
    path, folder = exchange(), tmp_path / "features"
    first = _cached(path, pictures, folder)
    others = [
        _cached(exchange(seed=1), pictures, folder),
        _cached(path, pictures, folder, crop_ratio=0.75),
        _cached(path, pictures.subset(np.array([5, 4, 3, 2, 1, 0])), folder),
    ]
    _cached(path, pictures, folder, resolution=40)
    assert len(list(folder.iterdir())) == 5
    assert not any(np.array_equal(first, other) for other in others)


def test_the_normalisation_is_in_the_key(exchange: Callable, pictures: ImageSet, tmp_path: Path):
    # the same tensors under another normalisation give other features
    folder = tmp_path / "features"
    first = _cached(exchange(), pictures, folder)
    second = _cached(exchange(mean=(0.1, 0.2, 0.3)), pictures, folder)
    assert not np.array_equal(first, second)


def test_damaged_features_are_extracted_again(
    exchange: Callable, pictures: ImageSet, tmp_path: Path
):
    path, folder = exchange(), tmp_path / "features"
    first = _cached(path, pictures, folder)
    (kept,) = folder.iterdir()
    for content in (b"", kept.read_bytes()[:100]):
        kept.write_bytes(content)
        np.testing.assert_array_equal(_cached(path, pictures, folder), first)


# ---- the command


@pytest.mark.usefixtures("tiny_protocol", "clean_environment")
def test_the_penalty_does_not_see_the_test(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    original = data.load
    rotated: list[bool] = []

    def load(name: str, root: Path, role: str) -> ImageSet:
        images = original(name, root, role)
        if role == "test" and rotated:
            return replace(images, labels=(images.labels + 3) % 10)
        return images

    monkeypatch.setattr(data, "load", load)
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
