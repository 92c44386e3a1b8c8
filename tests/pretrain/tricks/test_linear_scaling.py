"""Linear scaling by hand."""

import pytest

from pretrain.tricks.linear_scaling import linear_scaling


@pytest.mark.parametrize(
    ("lr", "batch", "base", "expected"),
    [
        (0.1, 256, 256, 0.1),
        (0.1, 1024, 256, 0.4),  # the paper's example
        (0.1, 32, 256, 0.0125),
        (0.025, 64, 16, 0.1),
    ],
)
def test_by_hand(lr: float, batch: int, base: int, expected: float) -> None:
    assert linear_scaling(lr, batch, base) == pytest.approx(expected, rel=1e-12)


def test_the_papers_base_is_256() -> None:
    assert linear_scaling(0.1, 512) == pytest.approx(0.2, rel=1e-12)
