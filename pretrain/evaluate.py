"""Top-1 and top-5 accuracy over a split, each sample counted once over all processes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from pretrain import augment, distributed
from pretrain.errors import RunError
from pretrain.loader import Batch


def top_k_correct(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """For each sample whether its label is among the k largest logits.

    Args:
        logits: [N, K]; labels: [N] of class indices. A k larger than K counts as K.

    Returns:
        booleans [N].
    """
    best = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return (best == labels[:, None]).any(dim=1)


def score(top: np.ndarray, answers: np.ndarray) -> tuple[float, float, int]:
    """Top-1 and top-5 in percent of ranked classes, and the number of samples that count.

    Args:
        top: int [N, 5] of class indices, the best first; -1 for samples that could not be read.
        answers: int [N, A] of each sample's right classes, padded with -1; one with none does not
            count. Where several are right, top-5 is that any of the five is, as in timm.

    Raises:
        RunError: no sample counts.
    """
    counted = (top[:, 0] >= 0) & (answers[:, 0] >= 0)
    samples = int(counted.sum())
    if not samples:
        raise RunError(f"none of the {len(top)} images can be read and has a label")
    right = (top[counted, :, None] == answers[counted, None, :]).any(axis=2)
    top1, top5 = int(right[:, 0].sum()), int(right.any(axis=1).sum())
    return 100 * top1 / samples, 100 * top5 / samples, samples


@torch.no_grad()
def accuracy(
    model: nn.Module,
    batches: Iterable[Batch],
    device: torch.device,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> tuple[float, float, int]:
    """Top-1 and top-5 in percent, and the number of samples, over the loaders of all processes.

    Args:
        batches: uint8 [n, 3, H, W] and labels [n]; samples of label -1 do not count.
        mean, std: of RGB in [0, 1], what the model was trained on.
    """
    was_training = model.training
    model.eval()
    totals = torch.zeros(3, dtype=torch.float64, device=device)
    for images, labels, _ in batches:
        readable = labels >= 0
        images = images[readable].to(device, non_blocking=True)
        labels = labels[readable].to(device, non_blocking=True)
        if not len(labels):
            continue
        logits = model(augment.normalise(images.float() / 255, mean, std))
        totals[0] += top_k_correct(logits, labels, 1).sum()
        totals[1] += top_k_correct(logits, labels, 5).sum()
        totals[2] += len(labels)
    model.train(was_training)
    top1, top5, samples = distributed.sum_over_processes(totals).tolist()
    return 100 * top1 / max(1, samples), 100 * top5 / max(1, samples), int(samples)
