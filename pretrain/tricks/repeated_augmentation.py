"""Repeated augmentation (Hoffer et al., 2019; Berman et al., 2019), as in ResNet strikes back."""

import numpy as np


def repeated(order: np.ndarray, repeats: int) -> np.ndarray:
    """An epoch's order in which each sample stands `repeats` times in a row.

    As in the papers, an epoch stays as long as before, so it meets a part of the samples only:
    the first N / repeats of the order. Its copies are augmented each on its own. Next to each
    other in the global order, they fall into the same batch, and on different processes where the
    batch is dealt out one by one.

    Args:
        order: a permutation of N samples.

    Returns:
        [N, 2]: the sample, and which of its copies this is, from 0 on.
    """
    copies = np.stack([np.repeat(order, repeats), np.tile(np.arange(repeats), len(order))], axis=1)
    return copies[: len(order)]
