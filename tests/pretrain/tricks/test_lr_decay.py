"""Step and cosine decay against NumPy and torch's schedulers."""

import numpy as np
import pytest
import torch

from pretrain.tricks.lr_decay import cosine_decay, step_decay


@pytest.mark.parametrize("per_epoch", [1, 3, 1251, 5004])
def test_steps_drop_exactly_at_epochs_30_60_and_90_of_120(per_epoch: int) -> None:
    total = 120 * per_epoch

    factors = [step_decay(step / total) for step in range(total)]

    drops = np.flatnonzero(np.diff(factors) != 0) + 1
    assert drops.tolist() == [30 * per_epoch, 60 * per_epoch, 90 * per_epoch]
    np.testing.assert_allclose([factors[0], *np.take(factors, drops)], [1, 0.1, 0.01, 0.001])


def test_there_is_no_drop_at_the_end() -> None:
    assert step_decay(1.0) == pytest.approx(0.001)


def test_cosine_by_hand() -> None:
    factors = [cosine_decay(t, 4) for t in range(5)]

    root = np.sqrt(0.5)
    np.testing.assert_allclose(factors, [1, (1 + root) / 2, 0.5, (1 - root) / 2, 0], atol=1e-15)


def test_cosine_is_torchs() -> None:
    sgd = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 50)
    for t in range(50):
        assert cosine_decay(t, 50) == pytest.approx(sgd.param_groups[0]["lr"], abs=1e-12)
        sgd.step()
        scheduler.step()


def test_cosine_stays_at_zero_after_the_end() -> None:
    assert cosine_decay(12, 10) == pytest.approx(0, abs=1e-15)
