"""Accuracy by hand, of weighted images too, and the file of what is classified correctly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import RunError
from core.metrics import classification
from core.metrics.classification import right_answers
from core.metrics.statistic import values


def test_weighted_accuracy() -> None:
    correct = np.array([True, False, True, True])
    weights = np.array([[1, 1, 1, 1], [0, 4, 0, 0], [2, 1, 0, 1], [1, 1, 0, 0]], float)
    assert classification.accuracy(correct)(weights).tolist() == [75.0, 0.0, 75.0, 50.0]


def test_a_records_metrics() -> None:
    right = np.array([[True, True], [False, True], [False, False]])
    found = classification.metrics(right, "val", "central crop")
    assert {name: metric.value for name, metric in found.items()} == {
        "top1": 100 / 3,
        "top5": 200 / 3,
    }
    for metric in found.values():
        assert (metric.unit, metric.split, metric.samples) == ("%", "val", 3)
        assert metric.detail == "central crop"
    assert list(classification.metrics(right[:, :1], "val", "")) == ["top1"]


def test_right_answers_by_hand() -> None:
    top = np.array([[2, 1, 0, 4, 5], [3, 2, 1, 0, 4], [1, 2, 3, 4, 5], [-1] * 5, [5, 0, 1, 2, 3]])
    answers = np.array([[2, 5, -1], [9, 0, 7], [-1, -1, -1], [2, -1, -1], [4, -1, -1]])
    right, counted = right_answers(top, answers)
    assert right.tolist() == [[True, True], [False, True], [False, False]]
    assert counted.tolist() == [0, 1, 4]
    with pytest.raises(RunError, match="none of the 2 images"):
        right_answers(top[2:4], answers[2:4])


# ---- the file of what is classified correctly


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    right = np.array([[True, True], [False, True], [False, False]])
    path = classification.save(tmp_path, right, np.array([0, 1, 4]))
    found = classification.load(path)
    assert found.images == (0, 1, 4)
    assert {name: column.tolist() for name, column in found.correct.items()} == {
        "top1": [True, False, False],
        "top5": [True, True, False],
    }
    assert values(found) == {"top1": 100 / 3, "top5": 200 / 3}
    with np.load(path) as file:
        assert file["samples"].dtype == np.int64
        assert file["top1"].dtype == bool


def test_top1_alone_of_all_images(tmp_path: Path) -> None:
    found = classification.load(classification.save(tmp_path, np.array([[True], [False]])))
    assert found.images == (0, 1)
    assert values(found) == {"top1": 50}


def test_every_image_has_its_position(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 images, but positions of shape"):
        classification.save(tmp_path, np.ones((3, 1), bool), np.arange(4))
