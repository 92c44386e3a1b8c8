"""Learning-rate warm-up (Bag of Tricks, section 3.1)."""


def lr_warmup(step: int, warmup_steps: int) -> float:
    """The factor on the initial learning rate: i / m at the i-th of the first m steps, then 1.

    Args:
        step: counted from 0; the paper's batch i is step i - 1.
        warmup_steps: the paper's m; 0 for none.
    """
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
