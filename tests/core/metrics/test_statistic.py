"""What every metric has in common: weights of one, sums of exactly the classes that count."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.metrics.statistic import mean_over_classes, ratio, value


def test_a_metric_counts_each_image_once() -> None:
    sizes = np.array([3.0, 4.0, 5.0])
    assert value(lambda weights: weights @ sizes, 3) == 12


def test_a_ratio_of_nothing_is_0() -> None:
    assert ratio(np.array([1.0, 0.0]), np.array([4.0, 0.0])).tolist() == [0.25, 0]


@pytest.mark.parametrize("seed", range(20))
def test_the_mean_is_of_the_counted_classes_to_the_last_bit(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values, counted = generator.random((1, 40)), generator.random((1, 40)) < 0.5
    assert mean_over_classes(values, counted).tolist() == [values[counted].mean()]


def test_each_row_has_classes_of_its_own() -> None:
    values = np.array([[1.0, 3.0, 8.0], [1.0, 3.0, 8.0], [1.0, 3.0, 8.0]])
    counted = np.array([[True, True, False], [False, False, True], [False, False, False]])
    assert mean_over_classes(values, counted).tolist() == [2, 8, 0]


def test_metrics_are_computed_without_torch() -> None:
    """Which takes seconds to import: commands on results would have to wait for it."""
    code = (
        "import sys; from core.metrics import classification, detection, segmentation; "
        "sys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
