"""The gap between logits, by hand and by NumPy; the file that keeps it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.metrics import logit_gap


def test_a_gap_is_the_largest_logit_minus_the_mean_of_the_others() -> None:
    logits = np.array([[1.0, 5.0, 3.0], [2.0, 2.0, 2.0]])
    np.testing.assert_allclose(logit_gap.gaps(logits), [5 - 2, 0])


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_gaps_are_those_of_the_sorted_logits(classes: int) -> None:
    logits = np.random.default_rng(0).normal(size=(50, classes)).astype(np.float32)
    ranked = np.sort(logits.astype(np.float64), axis=1)
    expected = ranked[:, -1] - ranked[:, :-1].mean(axis=1)
    np.testing.assert_allclose(logit_gap.gaps(logits), expected, rtol=1e-12)


def test_what_is_kept_is_float32_in_its_order_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    values = np.random.default_rng(1).random(7)
    path = logit_gap.save(tmp_path, values)
    assert path == tmp_path / "gaps.npz"
    found = logit_gap.load(path)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values.astype(np.float32))
    before = path.read_bytes()
    logit_gap.save(tmp_path, values)
    assert path.read_bytes() == before
