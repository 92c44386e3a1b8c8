"""Mixup (Bag of Tricks, section 5.4, equations 7 and 8)."""

import numpy as np
import torch
from torch import Tensor


def draw(rng: np.random.Generator, n: int, alpha: float) -> Tensor:
    """Lambda of each pair, [n], from Beta(alpha, alpha)."""
    return torch.from_numpy(rng.beta(alpha, alpha, n).astype(np.float32))


def mix(values: Tensor, others: Tensor, lam: Tensor) -> Tensor:
    """lambda x_i + (1 - lambda) x_j, for images and for targets alike.

    Args:
        values, others: x_i and x_j, [N, ...]; lam: [N].
    """
    lam = lam.to(values.device).view(-1, *[1] * (values.dim() - 1))
    return lam * values + (1 - lam) * others
