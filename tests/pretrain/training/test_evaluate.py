"""Top-k accuracy and logit gaps against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pretrain.training.evaluate import in_order, top_k_correct, verdicts


@pytest.mark.parametrize("k", [1, 3, 5])
def test_top_k_is_numpys(k: int) -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 12)), rng.integers(0, 12, 200)

    found = top_k_correct(torch.from_numpy(logits), torch.from_numpy(labels), k)

    best = np.argsort(-logits, axis=1)[:, :k]
    assert found.tolist() == [label in row for label, row in zip(labels, best, strict=True)]


def test_top_5_of_three_classes_is_always_right() -> None:
    assert top_k_correct(torch.randn(9, 3), torch.arange(9) % 3, 5).all()


class Colour(nn.Module):
    """Logits are a known function of the mean colour; records the mode of each call."""

    def __init__(self, weight: np.ndarray) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(weight))
        self.modes: list[bool] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.training)
        assert not torch.is_grad_enabled()
        return x.mean(dim=(2, 3)) @ self.weight.T


@pytest.mark.parametrize("training", [True, False])
def test_accuracy_is_numpys_over_uneven_batches(training: bool) -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (70, 3, 4, 4), dtype=np.uint8)
    labels = rng.integers(0, 8, 70)
    weight = rng.normal(size=(8, 3)).astype(np.float32)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    model = Colour(weight).train(training)
    pieces = [(torch.from_numpy(images[i : i + 32]), labels[i : i + 32]) for i in (0, 32, 64)]
    batches = [(part, torch.from_numpy(numbers), []) for part, numbers in pieces]

    found, gaps = verdicts(model, batches, torch.device("cpu"), mean, std)

    pixels = (images / 255 - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
    logits = pixels.mean(axis=(2, 3)) @ weight.T
    order = np.argsort(-logits, axis=1)
    ranked = np.sort(logits, axis=1)
    expected = ranked[:, -1] - ranked[:, :-1].mean(axis=1)
    np.testing.assert_allclose(gaps, expected, rtol=1e-4, atol=1e-5)
    assert gaps.dtype == np.float32
    assert found[:, 0].tolist() == (order[:, 0] == labels).tolist()
    assert found[:, 1].tolist() == (order[:, :5] == labels[:, None]).any(axis=1).tolist()
    assert 0 < found[:, 0].sum() < found[:, 1].sum() < 70
    assert model.modes == [False] * 3
    assert model.training is training


def test_samples_without_a_label_do_not_count() -> None:
    """Neither in the result nor in the network."""
    rng = np.random.default_rng(2)
    images = torch.from_numpy(rng.integers(0, 256, (12, 3, 4, 4), dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(0, 8, 12))
    lost = torch.tensor([1, 4, 8, 9, 10, 11])  # all of the third batch
    kept = torch.tensor([0, 2, 3, 5, 6, 7])
    model = Colour(rng.normal(size=(8, 3)).astype(np.float32))
    cpu, mean, std = torch.device("cpu"), (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    whole, its_gaps = verdicts(model, [(images[kept], labels[kept], [])], cpu, mean, std)
    labels[lost] = -1
    model.modes.clear()

    parts = zip(images.split(4), labels.split(4), strict=True)
    found, gaps = verdicts(model, [(*part, []) for part in parts], cpu, mean, std)

    assert (found[lost] == -1).all()
    assert (found[kept] == whole).all()
    right, counted_gaps, counted = in_order([(found, gaps)])
    assert right.tolist() == whole.astype(bool).tolist()
    np.testing.assert_allclose(counted_gaps, its_gaps, rtol=1e-5)
    assert counted.tolist() == kept.tolist()
    assert len(model.modes) == 2


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_verdicts_of_several_processes_come_in_the_order_of_the_split(world: int) -> None:
    rng = np.random.default_rng(3)
    whole = rng.integers(-1, 2, (11, 1)).astype(np.int8).repeat(2, axis=1)
    gaps = rng.random(11, np.float32)
    turns = [list(range(rank, 11, world)) for rank in range(world)]

    right, counted_gaps, counted = in_order([(whole[turn], gaps[turn]) for turn in turns])
    assert right.tolist() == [[bool(v)] * 2 for v, _ in whole if v >= 0]
    assert counted_gaps.tolist() == [g for g, (v, _) in zip(gaps, whole, strict=True) if v >= 0]
    assert counted.tolist() == [i for i, (v, _) in enumerate(whole) if v >= 0]


def test_nothing_to_count() -> None:
    model = Colour(np.zeros((8, 3), np.float32))
    nothing = [(torch.zeros(2, 3, 4, 4), torch.tensor([-1, -1]), [("a", "b")])]
    found = verdicts(model, nothing, torch.device("cpu"), (0.0,) * 3, (1.0,) * 3)

    right, gaps, _ = in_order([found])
    assert (right.shape, gaps.shape) == ((0, 2), (0,))
    assert model.modes == []
