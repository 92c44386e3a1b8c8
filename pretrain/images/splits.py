"""Parts of an image set: limited, balanced, held out."""

from __future__ import annotations

import numpy as np

from core.errors import InputError
from core.runtime.rng import generator
from pretrain.images.image_set import ImageSet


def per_class_split(labels: np.ndarray, part: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of a training set cut in two, each class in the same proportion.

    Args:
        labels: [N] of class indices.
        part: of each class, the share that goes to the second part; at least one sample of each
            class that has two or more.

    Returns:
        The indices that stay, and those held out, both sorted.
    """
    rng = generator("split", seed)
    held = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = max(1, round(part * len(members))) if len(members) > 1 else 0
        held.append(members[:count])
    held_out = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def limited(images: ImageSet, limit: int | None, seed: int) -> ImageSet:
    """The set itself, or, for a trial, a random part of it of `limit` samples."""
    if limit is None:
        return images
    if limit < 1:
        raise InputError(f"a limit of {limit} samples: expected 1 or more")
    order = generator("subset", seed).permutation(len(images))
    return images.subset(np.sort(order[:limit]))


def part(images: ImageSet, limit: int | None, train_size: int | None, seed: int) -> ImageSet:
    """What a probe trains on: the set, or so many of its samples, of each class as many as can be.

    Args:
        limit: of a trial.
        train_size: of a few-shot protocol, which is 1000 in VTAB-1k (arXiv 1910.04867).

    Raises:
        InputError: fewer than 2 samples, or more than there are.
    """
    images = limited(images, limit, seed)
    if train_size is None:
        return images
    if not isinstance(train_size, int) or not 2 <= train_size <= len(images):
        raise InputError(f"a training set of {train_size}: expected 2 to {len(images)} samples")
    rng = generator("subset", seed)
    return images.subset(balanced(images.labels, train_size, rng))


def balanced(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Sorted indices of `count` random samples, of each class as many as of any other.

    A class with fewer gives all that it has. Which classes give one more than others is random.
    """
    order = rng.permutation(len(labels))
    mine = labels[order]
    by_class = np.argsort(mine, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(mine[by_class]) > 0])
    sizes = np.diff(np.r_[starts, len(mine)])
    turn = np.empty(len(mine), np.int64)  # how many of its class come before a sample
    turn[by_class] = np.arange(len(mine)) - np.repeat(starts, sizes)
    return np.sort(order[np.argsort(turn, kind="stable")[:count]])


def held_out(
    labels: np.ndarray, share: float, seed: int, few: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of a training set cut in two: those that stay, those to choose settings on; sorted.

    Args:
        labels: [N] of class indices.
        share: that is held out: of each class, or, of a few-shot training set, in all, 200 of
            VTAB-1k's 1000, however few samples a class then has.
    """
    if not few:
        return per_class_split(labels, share, seed)
    count = min(len(labels) - 1, max(1, round(share * len(labels))))
    held = balanced(labels, count, generator("split", seed))
    return np.setdiff1d(np.arange(len(labels)), held), held
