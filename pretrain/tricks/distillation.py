"""Knowledge distillation (Bag of Tricks, section 5.3, equation 6)."""

import torch.nn.functional as F
from torch import Tensor


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 l(softmax(r / T), softmax(z / T)), where l is the cross-entropy; a scalar, in nats.

    It is added to the loss on the labels with weight 1. T^2 makes the size of its gradient nearly
    independent of the temperature.

    Args:
        student: z, logits [N, K].
        teacher: r, logits [N, K] of the same (mixed) images; they get no gradient.
        temperature: T.
    """
    soft = (teacher.detach() / temperature).softmax(dim=1)
    return temperature**2 * F.cross_entropy(student / temperature, soft)
