"""Learning-rate warm-up by hand."""

import pytest

from pretrain.tricks.lr_warmup import lr_warmup


def test_batch_i_of_m_has_i_over_m() -> None:
    factors = [lr_warmup(step, 4) for step in range(7)]

    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("step", [0, 1, 1000])
def test_no_warmup(step: int) -> None:
    assert lr_warmup(step, 0) == 1.0
