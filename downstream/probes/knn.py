"""k-NN on frozen features with DINO's weights: nothing is trained or chosen.

Each of the k training samples with the largest cosine similarity votes for its class, with the
weight exp(similarity / 0.07). Source: Caron et al., Emerging properties in self-supervised vision
transformers (arXiv 2104.14294), section 4.1, and its eval_knn.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.metrics import classification
from downstream.probes import features
from downstream.task import DownstreamRun

CHUNK = 2**26  # similarities at a time


def votes(
    x: Tensor, labels: Tensor, classes: int, queries: Tensor, ks: Sequence[int], temperature: float
) -> dict[int, Tensor]:
    """Each query's weighted votes per class, [M, K] for each k.

    Args:
        x: training features [N, D]; labels: [N] of class indices.
        queries: [M, D].
        ks: numbers of neighbours; at most N are used.
        temperature: divides the similarities, which are in [-1, 1].
    """
    x, queries = F.normalize(x, dim=1), F.normalize(queries, dim=1)
    similarity, nearest = (queries @ x.T).topk(min(max(ks), len(x)), dim=1)
    # relative to the nearest neighbour, so that nothing overflows; the classes' order is the same
    weights = ((similarity - similarity[:, :1]) / temperature).exp()
    found = {}
    for k in ks:
        counted = weights.new_zeros(len(queries), classes)
        found[k] = counted.scatter_add_(1, labels[nearest[:, :k]], weights[:, :k])
    return found


def correctly_classified(
    x: Tensor,
    labels: Tensor,
    classes: int,
    queries: np.ndarray,
    answers: np.ndarray,
    ks: Sequence[int],
    temperature: float,
) -> dict[int, np.ndarray]:
    """Which queries [M, D] the k-NN classifier gets right: bool [M] for each k.

    Args:
        queries: in host memory or memory-mapped; answers: [M] of class indices.
    """
    right = {k: np.zeros(len(queries), bool) for k in ks}
    for rows in chunks(len(queries), max(1, CHUNK // len(x))):
        some = torch.from_numpy(np.array(queries[rows])).to(x.device)
        for k, found in votes(x, labels, classes, some, ks, temperature).items():
            right[k][rows] = found.argmax(dim=1).cpu().numpy() == answers[rows]
    return right


def run(run: DownstreamRun) -> None:
    """Loads or extracts the features, and reports each k's top-1 on the test set.

    "top1" is that of the largest k.

    Raises:
        InputError: data, backbone or options do not fit.
    """
    frozen = features.frozen(run)
    if frozen is None:
        return
    train, test, settings = frozen.train, frozen.test, frozen.settings
    x, labels = frozen.training(np.float32)
    right = correctly_classified(
        *(x, labels, len(train.classes), frozen.x_test, test.labels),
        ks=settings.ks,
        temperature=settings.temperature,
    )
    metrics = {}
    for k, found in right.items():
        detail = f"{k} nearest neighbours by cosine, weights exp(s / {settings.temperature:g})"
        of_k = classification.metrics(found[:, None], test.split, detail)
        metrics[f"top1@k={k}"] = of_k["top1"]
    most = max(settings.ks)
    frozen.write_record({"top1": metrics[f"top1@k={most}"], **metrics}, right[most][:, None])


def chunks(count: int, size: int) -> Iterator[slice]:
    """Slices of `size` that cover `count`."""
    return (slice(start, start + size) for start in range(0, count, size))
