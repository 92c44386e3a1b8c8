"""Top-1 and top-5 accuracy over a split, each sample counted once over all processes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pretrain import augment, distributed


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
def accuracy(
    model: nn.Module,
    loader: DataLoader,
    device: torch.device,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> tuple[float, float, int]:
    """Top-1 and top-5 in percent, and the number of samples, over the loaders of all processes.

    Args:
        loader: gives uint8 [n, 3, H, W] and labels [n].
        mean, std: of RGB in [0, 1], what the model was trained on.
    """
    was_training = model.training
    model.eval()
    totals = torch.zeros(3, dtype=torch.float64, device=device)
    for images, labels in loader:
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        logits = model(augment.normalise(images.float() / 255, mean, std))
        totals[0] += top_k_correct(logits, labels, 1).sum()
        totals[1] += top_k_correct(logits, labels, 5).sum()
        totals[2] += len(labels)
    model.train(was_training)
    top1, top5, samples = distributed.sum_over_processes(totals).tolist()
    return 100 * top1 / samples, 100 * top5 / samples, int(samples)
