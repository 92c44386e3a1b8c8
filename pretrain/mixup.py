"""Mixup (Bag of Tricks, section 5.4, equations 7 and 8)."""

import numpy as np
import torch
from torch import Tensor


def draw(rng: np.random.Generator, n: int, alpha: float) -> tuple[Tensor, Tensor]:
    """What a batch is mixed with: a partner for each example, and each pair's lambda.

    Returns:
        partner [n], a permutation of the batch; lambda [n], from Beta(alpha, alpha).
    """
    partner = torch.from_numpy(rng.permutation(n))
    lam = torch.from_numpy(rng.beta(alpha, alpha, n).astype(np.float32))
    return partner, lam


def mix(values: Tensor, partner: Tensor, lam: Tensor) -> Tensor:
    """lambda x_i + (1 - lambda) x_j, for images and for targets alike.

    Args:
        values: [N, ...]; partner: [N] of indices j; lam: [N].
    """
    lam = lam.to(values.device).view(-1, *[1] * (values.dim() - 1))
    return lam * values + (1 - lam) * values[partner.to(values.device)]
