"""Binary cross-entropy over classes (ResNet strikes back, section 3.1)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def multi_hot(targets: Tensor, others: Tensor, share: Tensor) -> Tensor:
    """Targets of mixed examples: the classes of both examples are positive, whatever their shares.

    Args:
        targets, others: [N, K] of the two examples, one-hot or smoothed.
        share: [N] in [0, 1], the first example's share; at 0 or 1 there is only one example.

    Returns:
        [N, K]: 1 (1 - eps if smoothed) for one or two classes.
    """
    share = share.to(targets.device)[:, None]
    both = torch.maximum(targets, others)
    return torch.where(share >= 1, targets, torch.where(share <= 0, others, both))


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)), p = sigmoid(z), the mean over samples and classes, in nats.

    The paper's learning rates were tuned for timm's loss, which takes the mean over classes.

    Args:
        logits: z [N, K]; targets: t [N, K] in [0, 1].
    """
    return F.binary_cross_entropy_with_logits(logits, targets)
