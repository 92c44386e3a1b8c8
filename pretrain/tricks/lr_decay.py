"""Learning-rate decay: in steps (Bag of Tricks, section 2.1) and along a cosine (5.1)."""

import math


def step_decay(progress: float) -> float:
    """The factor on the learning rate: divided by 10 at 1/4, 1/2 and 3/4 of the training.

    In the paper: at epochs 30, 60 and 90 of 120.

    Args:
        progress: in [0, 1], 1 at the end of the training.
    """
    return 0.1 ** min(3, int(4 * progress))


def cosine_decay(step: int, steps: int) -> float:
    """The factor on the learning rate at batch t of T: (1 + cos(pi t / T)) / 2.

    Args:
        step: t, 0 at the end of the warm-up.
        steps: T, without the warm-up.
    """
    return 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))
