"""Learning-rate warm-up (Bag of Tricks, section 3.1)."""


def lr_warmup(step: int, warmup_steps: int) -> float:
    """The factor on the initial learning rate: i / m for the first m batches i = 1 ... m, then 1.

    Args:
        step: i - 1, counted from 0.
        warmup_steps: m; 0 for no warm-up.
    """
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
