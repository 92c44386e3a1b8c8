"""Top-1, top-5 and logit gaps over a split, each sample counted once over all processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from core.metrics import logit_gap
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
) -> tuple[np.ndarray, np.ndarray]:
    """What this process finds of its samples.

    Args:
        batches: uint8 [n, 3, H, W] and labels [n]; samples of label -1 do not count.
        mean, std: of RGB in [0, 1], what the model was trained on.

    Returns:
        int8 [N, 2], top-1 and top-5: 1 is right, 0 wrong, -1 does not count.
        float32 [N], the gaps between the logits; 0 for a sample that does not count.
    """
    was_training = model.training
    model.eval()
    found = [torch.zeros(0, 2, dtype=torch.int8, device=device)]
    gaps = [np.zeros(0, np.float32)]
    for images, labels, _ in batches:
        readable = labels >= 0
        part = torch.full((len(labels), 2), -1, dtype=torch.int8, device=device)
        found.append(part)
        gaps.append(np.zeros(len(labels), np.float32))
        if not readable.any():
            continue
        wanted = labels[readable].to(device, non_blocking=True)
        pixels = images[readable].to(device, non_blocking=True).float() / 255
        logits = model(transforms.normalise(pixels, mean, std))
        right = [top_k_correct(logits, wanted, k) for k in (1, 5)]
        part[readable.to(device)] = torch.stack(right, dim=1).to(torch.int8)
        gaps[-1][readable.numpy()] = logit_gap.gaps(logits.cpu().numpy())
    model.train(was_training)
    return torch.cat(found).cpu().numpy(), np.concatenate(gaps)


def in_order(
    shares: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The verdicts of all processes, each of every so many-th sample, in the split's order.

    Returns:
        Of the S samples that count: bool [S, 2], top-1 and top-5; float32 [S], the gaps between
        their logits; int [S], their places in the split.
    """
    verdict, gap = (_interleaved(parts) for parts in zip(*shares, strict=True))
    counted = np.flatnonzero(verdict[:, 0] >= 0)
    return verdict[counted].astype(bool), gap[counted], counted


def _interleaved(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of every so many-th row, as the whole that they are of."""
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    for rank, part in enumerate(parts):
        whole[rank :: len(parts)] = part
    return whole
