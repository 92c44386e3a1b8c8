"""Label smoothing (Bag of Tricks, section 5.2, equation 4)."""

import torch
from torch import Tensor


def label_smoothing(labels: Tensor, classes: int, eps: float) -> Tensor:
    """The target distribution: q_i = 1 - eps for the true class, eps / (K - 1) for the others.

    torch's `label_smoothing=` gives eps / K to all K classes, so its true class has
    1 - eps + eps / K: a little less smoothing.

    Args:
        labels: [N] of class indices.
        classes: K, at least 2.
        eps: the probability taken from the true class; 0 gives one-hot targets.

    Returns:
        [N, K], each row of sum 1.
    """
    targets = torch.full((len(labels), classes), eps / (classes - 1), device=labels.device)
    return targets.scatter_(1, labels[:, None], 1 - eps)
