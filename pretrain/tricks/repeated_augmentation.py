"""Repeated augmentation (Hoffer et al., 2019; Berman et al., 2019), as in ResNet strikes back."""

import numpy as np


def repeated(order: np.ndarray, repeats: int) -> np.ndarray:
    """An epoch's order in which each sample occurs `repeats` times in a row.

    As in the papers, the epoch keeps its length, so it covers only the first N / repeats samples of
    the order. Each copy is augmented independently. Neighbours in the order, the copies of a sample
    are in the same batch, and on different processes if these take turns.

    Args:
        order: a permutation of N samples.

    Returns:
        [N, 2]: the sample, and the number of its copy, counted from 0.
    """
    copies = np.stack([np.repeat(order, repeats), np.tile(np.arange(repeats), len(order))], axis=1)
    return copies[: len(order)]
