"""COCO's average precision of masks and of boxes, and the file of a test's instances.

pycocotools matches; a match depends on its image alone, so that weights per image need no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.files import write_npz
from core.metrics import detection
from core.metrics.detection import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE, DetectionResults, Matches
from core.metrics.statistic import Statistic

Masks = tuple[bytes, ...]  # of one image, in COCO's compressed run lengths
Kind = Literal["segm", "bbox"]  # masks and boxes, as pycocotools calls them
KINDS: dict[str, Kind] = {"mask": "segm", "box": "bbox"}


@dataclass(frozen=True)
class InstanceResults:
    """A test of instance segmentation.

    Attributes:
        boxes: as of a detector; a difficult object is a crowd.
        sizes: height and width of each image [N, 2].
        masks, object_masks: of each image, one for each detection and each object.
    """

    boxes: DetectionResults
    sizes: NDArray[np.integer]
    masks: tuple[Masks, ...]
    object_masks: tuple[Masks, ...]

    @property
    def images(self) -> tuple[str, ...]:
        return self.boxes.images

    def statistics(self) -> dict[str, Statistic]:
        """AP over IoU 0.50, 0.55 ... 0.95, and at 0.50, of masks and of boxes."""
        found = {}
        for name, kind in KINDS.items():
            at_each_iou = match(self, kind)
            everywhere = [*chain(*at_each_iou)]
            found[f"{name}_ap"] = detection.mean_average_precision(everywhere, "101-point")
            found[f"{name}_ap50"] = detection.mean_average_precision(at_each_iou[0], "101-point")
        return found


def match(results: InstanceResults, kind: Kind) -> list[list[Matches]]:
    """The matches of each class, at each of COCO's ten thresholds of IoU."""
    boxes, sizes = results.boxes, results.sizes.tolist()
    images = [dict(id=i, height=h, width=w) for i, (h, w) in enumerate(sizes, 1)]
    objects = detection.coco_annotations(boxes.ground_truth)
    found = detection.coco_annotations(boxes.detections)
    _add_masks(objects, results.object_masks, sizes)
    _add_masks(found, results.masks, sizes)
    evaluation = detection.coco_evaluation(images, boxes.classes, objects, found, kind)
    thresholds, count = len(evaluation.params.iouThrs), len(images)
    by_class = [
        _matches(evaluation.evalImgs[label * count :][:count], thresholds)
        for label in range(len(boxes.classes))
    ]
    return [list(of_threshold) for of_threshold in zip(*by_class, strict=True)]


def _add_masks(
    rows: Sequence[dict[str, Any]], masks: Sequence[Masks], sizes: Sequence[Sequence[int]]
) -> None:
    """Gives annotations in the form of COCO's JSON their masks."""
    of_rows = [
        dict(size=size, counts=counts)
        for size, of_image in zip(sizes, masks, strict=True)
        for counts in of_image
    ]
    for row, mask in zip(rows, of_rows, strict=True):
        row["segmentation"] = mask


def _matches(of_images: Sequence[dict[str, Any] | None], thresholds: int) -> list[Matches]:
    """One class's matches at each threshold.

    Args:
        of_images: what pycocotools found in each image; None where it has nothing of the class.
    """
    nothing = np.zeros((thresholds, 0))
    empty: dict[str, Any] = dict(
        dtScores=[], dtMatches=nothing, dtIgnore=nothing, gtIgnore=np.zeros(0)
    )
    cells = [empty if it is None else it for it in of_images]
    scores = [np.asarray(it["dtScores"], np.float64) for it in cells]
    outcomes = np.where(
        np.concatenate([it["dtMatches"] for it in cells], axis=1), TRUE_POSITIVE, FALSE_POSITIVE
    )
    outcomes[np.concatenate([it["dtIgnore"] for it in cells], axis=1) > 0] = IGNORED
    images = np.repeat(np.arange(len(cells)), [len(of_image) for of_image in scores])
    objects = np.array([np.count_nonzero(it["gtIgnore"] == 0) for it in cells])
    return [Matches(images, np.concatenate(scores), at, objects) for at in outcomes]


def save(path: Path, results: InstanceResults) -> None:
    """Writes a compressed .npz, whole or not at all.

    Its arrays are those of detections.npz, and `sizes`; `masks`, the run lengths of all detections
    as bytes, those of detection k from `mask_ends[k - 1]` to `mask_ends[k]`; and likewise
    `object_masks`, `object_mask_ends`.
    """
    columns = detection.columns(results.boxes) | dict(sizes=np.asarray(results.sizes, np.int32))
    for name, of_images in (("mask", results.masks), ("object_mask", results.object_masks)):
        masks = [*chain(*of_images)]
        columns[f"{name}s"] = np.frombuffer(b"".join(masks), np.uint8)
        columns[f"{name}_ends"] = np.cumsum([len(mask) for mask in masks], dtype=np.int64)
    write_npz(path, **columns)


def load(path: Path) -> InstanceResults:
    """What `save` wrote."""
    with np.load(path) as file:
        boxes = detection.of_columns(file)
        return InstanceResults(
            boxes,
            file["sizes"],
            _split(file["masks"], file["mask_ends"], [len(it.labels) for it in boxes.detections]),
            _split(
                file["object_masks"],
                file["object_mask_ends"],
                [len(it.labels) for it in boxes.ground_truth],
            ),
        )


def _split(
    content: NDArray[np.uint8], ends: NDArray[np.integer], counts: Sequence[int]
) -> tuple[Masks, ...]:
    """The masks of each image, of which there are `counts`."""
    whole = content.tobytes()
    masks = [whole[begin:end] for begin, end in pairwise([0, *ends.tolist()])]
    return tuple(tuple(masks[begin:end]) for begin, end in pairwise(accumulate(counts, initial=0)))
