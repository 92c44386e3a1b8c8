"""Top-1 and top-5 accuracy over a split, each sample counted once over all processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pretrain.images import transforms
from pretrain.images.loader import Batch


def top_k_correct(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """For each sample whether its label is among the k largest logits.

    Args:
        logits: [N, K]; labels: [N] of class indices. A k larger than K counts as K.

    Returns:
        booleans [N].
    """
    best = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return (best == labels[:, None]).any(dim=1)


@torch.no_grad()
def verdicts(
    model: nn.Module,
    batches: Iterable[Batch],
    device: torch.device,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> np.ndarray:
    """What this process finds of its samples, top-1 and top-5.

    Args:
        batches: uint8 [n, 3, H, W] and labels [n]; samples of label -1 do not count.
        mean, std: of RGB in [0, 1], what the model was trained on.

    Returns:
        int8 [N, 2]: 1 is right, 0 wrong, -1 does not count.
    """
    was_training = model.training
    model.eval()
    found = [torch.zeros(0, 2, dtype=torch.int8, device=device)]
    for images, labels, _ in batches:
        readable = labels >= 0
        part = torch.full((len(labels), 2), -1, dtype=torch.int8, device=device)
        found.append(part)
        if not readable.any():
            continue
        wanted = labels[readable].to(device, non_blocking=True)
        pixels = images[readable].to(device, non_blocking=True).float() / 255
        logits = model(transforms.normalise(pixels, mean, std))
        right = [top_k_correct(logits, wanted, k) for k in (1, 5)]
        part[readable.to(device)] = torch.stack(right, dim=1).to(torch.int8)
    model.train(was_training)
    return torch.cat(found).cpu().numpy()


def in_order(shares: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The verdicts of all processes, each of every so many-th sample, as of `right_answers`."""
    whole = np.empty((sum(map(len, shares)), 2), np.int8)
    for rank, share in enumerate(shares):
        whole[rank :: len(shares)] = share
    counted = np.flatnonzero(whole[:, 0] >= 0)
    return whole[counted].astype(bool), counted
