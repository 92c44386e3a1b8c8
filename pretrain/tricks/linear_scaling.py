"""Linear scaling of the learning rate (Bag of Tricks, section 3.1)."""


def linear_scaling(lr: float, batch_size: int, base_batch_size: int = 256) -> float:
    """The initial learning rate for a batch size b: lr x b / 256.

    A larger batch has a less noisy gradient, which allows a proportionally larger step.

    Args:
        lr: tuned for `base_batch_size`.
        batch_size: samples per step over all devices.
    """
    return lr * batch_size / base_batch_size
