"""Subsets of an image set: random, class-balanced, held out for validation."""

from __future__ import annotations

import numpy as np

from core.errors import InputError
from core.runtime.rng import generator
from pretrain.images.image_set import ImageSet


def per_class_split(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits a training set in two, each class in the same proportion (a stratified split).

    Args:
        labels: [N] of class indices.
        share: the part of each class to hold out; at least one sample of each class of two or more.

    Returns:
        Indices of the samples kept and of those held out, both sorted.
    """
    rng = generator("split", seed)
    parts = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = max(1, round(share * len(members))) if len(members) > 1 else 0
        parts.append(members[:count])
    held_out = np.sort(np.concatenate(parts))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def random_subset(images: ImageSet, limit: int | None, seed: int) -> ImageSet:
    """A random subset of `limit` samples for a debug run; the set itself if `limit` is None."""
    if limit is None:
        return images
    if limit < 1:
        raise InputError(f"a limit of {limit} samples: expected 1 or more")
    order = generator("subset", seed).permutation(len(images))
    return images.subset(np.sort(order[:limit]))


def training_subset(
    images: ImageSet, limit: int | None, train_size: int | None, seed: int
) -> ImageSet:
    """A class-balanced subset of `train_size` samples; all samples if `train_size` is None.

    Args:
        limit: the random subset of a debug run to take first.
        train_size: of a few-shot protocol: 1000 in VTAB-1k (arXiv 1910.04867).

    Raises:
        InputError: `train_size` is below 2 or above the number of samples.
    """
    images = random_subset(images, limit, seed)
    if train_size is None:
        return images
    if not isinstance(train_size, int) or not 2 <= train_size <= len(images):
        raise InputError(f"a training set of {train_size}: expected 2 to {len(images)} samples")
    rng = generator("subset", seed)
    return images.subset(balanced_indices(images.labels, train_size, rng))


def balanced_indices(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Sorted indices of `count` random samples, equally many from each class as far as possible.

    A class with too few samples gives all; random classes give one more if `count` does not divide.
    """
    order = rng.permutation(len(labels))
    shuffled = labels[order]
    by_class = np.argsort(shuffled, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(shuffled[by_class]) > 0])
    sizes = np.diff(np.r_[starts, len(shuffled)])
    rank = np.empty(len(shuffled), np.int64)  # of each sample within its class
    rank[by_class] = np.arange(len(shuffled)) - np.repeat(starts, sizes)
    return np.sort(order[np.argsort(rank, kind="stable")[:count]])


def validation_split(
    labels: np.ndarray, share: float, seed: int, few_shot: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Splits a training set into samples to train on and samples to choose settings on.

    Args:
        few_shot: hold out `share` of all samples, class-balanced (200 of VTAB-1k's 1000), and not
            `share` of each class, which would be at least one sample of each.

    Returns:
        As `per_class_split`.
    """
    if not few_shot:
        return per_class_split(labels, share, seed)
    count = min(len(labels) - 1, max(1, round(share * len(labels))))
    held_out = balanced_indices(labels, count, generator("split", seed))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out
