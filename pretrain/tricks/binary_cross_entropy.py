"""Binary cross-entropy over classes (ResNet strikes back, section 3.1)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def multi_hot(targets: Tensor, others: Tensor, share: Tensor) -> Tensor:
    """Targets of mixed examples: each class that was mixed in is positive, however small its part.

    Args:
        targets, others: of the two examples that were mixed, one-hot or smoothed, [N, K].
        share: the first example's part, [N] in [0, 1]; at 0 and 1 there is only one example.

    Returns:
        [N, K]: 1 (smoothed: 1 - eps) at one class or two.
    """
    share = share.to(targets.device)[:, None]
    both = torch.maximum(targets, others)
    return torch.where(share >= 1, targets, torch.where(share <= 0, others, both))


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)), p = sigmoid(z), the mean over samples and classes, in nats.

    The mean over classes is timm's, with which the recipes' learning rates were found.

    Args:
        logits: z [N, K]; targets: t [N, K] in [0, 1].
    """
    return F.binary_cross_entropy_with_logits(logits, targets)
