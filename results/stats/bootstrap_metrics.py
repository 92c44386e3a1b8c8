"""Metrics of resampled images: each is a function of how often every image of the test counts.

A resample is weights, one for each image, and the metric is computed again from what each image
contributes; the images themselves are looked at once. tests/results/test_weighted.py compares with
the metrics of `downstream` on literally repeated images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from results.stats.intervals import Floats, Statistic

Integers = NDArray[np.integer]
Rule = Literal["11-point", "all-point"]


def accuracy(right: NDArray[np.bool_]) -> Statistic:
    """The share of images [N] that are right, in percent."""
    return lambda weights: 100 * (weights @ right) / weights.sum(axis=1)


def pixel_accuracy(hits: Integers, truths: Integers) -> Statistic:
    """The share of labelled pixels that are right, in percent; 0 where there is none.

    Args:
        hits, truths: pixels [N, C] of each image and class, right ones and all.
    """
    right, all_of = hits.sum(axis=1), truths.sum(axis=1)
    return lambda weights: 100 * _share(weights @ right, weights @ all_of)


def mean_iou(hits: Integers, truths: Integers, guesses: Integers) -> Statistic:
    """The mean IoU, in percent, of the classes that occur among truths or guesses.

    Args:
        hits, truths, guesses: pixels [N, C] of each image and class.
    """
    unions = truths + guesses - hits

    def of(weights: Floats) -> Floats:
        shared, union = weights @ hits, weights @ unions
        return 100 * _mean_where(_share(shared, union), union > 0)

    return of


@dataclass(frozen=True)
class Ranking:
    """One class's detections [n] in the order of the images.

    Attributes:
        images: of each, its image's number.
        right: 1, 0, or -1 where it counts neither way.
    """

    images: Integers
    scores: NDArray[np.floating]
    right: Integers


def mean_average_precision(rankings: Sequence[Ranking], objects: Integers, rule: Rule) -> Statistic:
    """The mean over classes in percent; classes without an object are left out.

    The order of the detections is the same in every resample: a repeated image's detections stand
    beside each other, as if the images were repeated in place. Between two right detections only
    the number of wrong ones matters, so that wrong ones are counted by image and gap beforehand.

    Args:
        rankings: of each class.
        objects: how many there are to be found in each image [N], of each class [N, C].
    """
    prepared = [_gaps(ranking, len(objects)) for ranking in rankings]

    def of(weights: Floats) -> Floats:
        by_image = np.ascontiguousarray(weights.T)
        there = weights @ objects
        precisions = [
            _average_precision(*parts, by_image, there[:, label], rule)
            for label, parts in enumerate(prepared)
        ]
        return 100 * _mean_where(np.stack(precisions, axis=1), there > 0)

    return of


def _gaps(ranking: Ranking, images: int) -> tuple[Integers, Any]:
    """Images of the right detections, the surest first [K], and detections by place [K, N].

    Each detection that counts is at the place of the first right one that is not before it; those
    after the last right one do not matter.
    """
    order = np.argsort(-ranking.scores, kind="stable")
    order = order[ranking.right[order] >= 0]
    right, image = ranking.right[order], ranking.images[order]
    places = np.cumsum(right) - right
    count = int(right.sum())
    matters = places < count
    cells = (np.ones(int(matters.sum())), (places[matters], image[matters]))
    return image[right == 1], sparse.coo_array(cells, shape=(count, images)).tocsr()


def _average_precision(
    images: Integers, detections: Any, by_image: Floats, objects: Floats, rule: Rule
) -> Floats:
    """One class's average precision in each resample [R]: 0 where it has no object.

    Precision and recall are those at the right detections; right ones of weight 0 repeat the recall
    before them with no better a precision, and so change nothing.

    Args:
        images, detections: as of `_gaps`.
        by_image: weights [N, R].
    """
    if not len(images):
        return np.zeros(by_image.shape[1])
    drawn = by_image[images]
    hits = np.cumsum(drawn, axis=0)
    precision = _share(hits, np.cumsum(detections @ by_image, axis=0))
    best = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or a higher one
    if rule == "all-point":
        return _share((drawn * best).sum(axis=0), objects)
    recall = _share(hits, np.broadcast_to(objects, hits.shape))
    best = np.concatenate([best, np.zeros((1, best.shape[1]))])
    resample = np.arange(best.shape[1])
    # steps of 0.1 in floating point, as in downstream/average_precision.py
    levels = [best[(recall < level).sum(axis=0), resample] for level in np.arange(11) * 0.1]
    return np.sum(levels, axis=0) / 11


def _share(part: Floats, whole: Floats) -> Floats:
    """part / whole, and 0 where the whole is."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)


def _mean_where(values: Floats, counted: NDArray[np.bool_]) -> Floats:
    """The mean of each row's counted values; 0 of none."""
    return _share((values * counted).sum(axis=1), counted.sum(axis=1).astype(np.float64))
