"""Mean average precision by PASCAL VOC's rules, COCO's AP, and the file of a test's detections."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy import sparse

from core.files import write_npz
from core.metrics.statistic import Floats, Statistic, mean_over_classes, ratio

Integers = NDArray[np.integer]
Reals = NDArray[np.floating]
Rule = Literal["11-point", "101-point", "all-point"]

RULES: dict[str, Rule] = {"map": "11-point", "map_all_point": "all-point"}
# The recalls at which a rule takes the precision: VOC2007's, by steps of 0.1 as GluonCV and mmdet
# have them (3 of them are a little more than 0.3), and COCO's.
RECALLS = {"11-point": np.arange(11) * 0.1, "101-point": np.linspace(0, 1, 101)}
IOU = 0.5  # from which on VOC takes a detection for the object that it overlaps
TRUE_POSITIVE, FALSE_POSITIVE, IGNORED = 1, 0, -1


@dataclass(frozen=True)
class Detections:
    """One image's detections: boxes [n, 4] (x1, y1, x2, y2 in pixels), scores and labels [n]."""

    boxes: Reals
    scores: Reals
    labels: Integers


@dataclass(frozen=True)
class GroundTruth:
    """One image's objects: boxes [m, 4], labels [m], and which are marked difficult [m]."""

    boxes: Reals
    labels: Integers
    difficult: NDArray[np.bool_]


@dataclass(frozen=True)
class DetectionResults:
    """A detector's test: the classes' names, and each image's name, detections and objects."""

    classes: tuple[str, ...]
    images: tuple[str, ...]
    detections: tuple[Detections, ...]
    ground_truth: tuple[GroundTruth, ...]

    def statistics(self) -> dict[str, Statistic]:
        """Mean average precision by VOC2007's rule and by that from VOC2010 on."""
        matches = [match_class(self, label) for label in range(len(self.classes))]
        return {name: mean_average_precision(matches, rule) for name, rule in RULES.items()}


def box_iou(boxes: Reals, others: Reals) -> Reals:
    """Intersection over union [n, m] of boxes [n, 4] and [m, 4] that include their last pixel."""
    boxes, others = boxes.astype(np.float64)[:, None], others.astype(np.float64)[None]
    low, high = np.maximum(boxes, others), np.minimum(boxes, others)
    sides = np.clip(high[..., 2:] - low[..., :2] + 1, 0, None)
    shared = sides.prod(axis=-1)
    areas = [(b[..., 2:] - b[..., :2] + 1).prod(axis=-1) for b in (boxes, others)]
    return shared / (areas[0] + areas[1] - shared)


def match(found: Detections, truth: GroundTruth, label: int) -> tuple[Reals, Integers]:
    """One class's detections in one image, the highest score first, matched to its objects.

    A detection belongs to the object that it overlaps most. Of several detections of one object
    only that of the highest score is a true positive; detections of a difficult object are ignored.
    Equal scores keep the order of the detector. (VOCdevkit, VOCevaldet.m.)

    Returns:
        Scores [n], and TRUE_POSITIVE, FALSE_POSITIVE or IGNORED for each [n].
    """
    mine = np.flatnonzero(found.labels == label)
    mine = mine[np.argsort(-found.scores[mine], kind="stable")]
    which = truth.labels == label
    outcomes = np.full(len(mine), FALSE_POSITIVE)
    if len(mine) and which.any():
        overlaps = box_iou(found.boxes[mine], truth.boxes[which])
        best, difficult = overlaps.argmax(axis=1), truth.difficult[which]
        taken = np.zeros(len(difficult), bool)
        for row, index in enumerate(best):
            if overlaps[row, index] < IOU:
                continue
            if difficult[index]:
                outcomes[row] = IGNORED
            elif not taken[index]:
                taken[index], outcomes[row] = True, TRUE_POSITIVE
    return found.scores[mine], outcomes


@dataclass(frozen=True)
class Matches:
    """One class's detections in all images [n], image by image, and its objects.

    Attributes:
        images: the index of each detection's image.
        outcomes: TRUE_POSITIVE, FALSE_POSITIVE or IGNORED, of each detection.
        objects: how many objects of the class each image has, without the difficult ones [N].
    """

    images: Integers
    scores: Reals
    outcomes: Integers
    objects: Integers


def match_class(results: DetectionResults, label: int) -> Matches:
    """The matches of one class in all images of a test."""
    pairs = [*zip(results.detections, results.ground_truth, strict=True)]
    scores, outcomes = zip(*(match(found, truth, label) for found, truth in pairs), strict=True)
    objects = [np.count_nonzero((truth.labels == label) & ~truth.difficult) for _, truth in pairs]
    return Matches(
        images=np.repeat(np.arange(len(pairs)), [len(of_image) for of_image in scores]),
        scores=np.concatenate(scores),
        outcomes=np.concatenate(outcomes),
        objects=np.array(objects),
    )


def mean_average_precision(matches: Sequence[Matches], rule: Rule) -> Statistic:
    """The mean over classes in percent; classes without an object are left out.

    The copies of a detection whose image is drawn several times are ranked together, so that the
    order of the detections is the same in every resample.

    Args:
        matches: of each class.
        rule: VOC2007's mean of the precision at the recalls 0, 0.1 ... 1, COCO's at 0, 0.01 ... 1,
            or the whole area under the curve, VOC's from 2010 on.
    """
    curves = [_curve(of_class) for of_class in matches]
    by_class = np.stack([of_class.objects for of_class in matches], axis=1)

    def statistic(weights: Floats) -> Floats:
        by_image = np.ascontiguousarray(weights.T)
        objects = weights @ by_class
        precisions = [
            _average_precision(curve, by_image, objects[:, label], rule)
            for label, curve in enumerate(curves)
        ]
        return 100 * mean_over_classes(np.stack(precisions, axis=1), objects > 0)

    return statistic


@dataclass(frozen=True)
class _Curve:
    """One class's precision-recall curve at its K true positives, the highest score first.

    Between two true positives only the number of false positives matters, so that they are counted
    once and not in every resample.

    Attributes:
        images: the index of each true positive's image [K].
        detections: sparse [K, N], how many detections of each image are ranked between the true
            positive before and this one, which is included.
    """

    images: Integers
    detections: Any


def _curve(matches: Matches) -> _Curve:
    order = np.argsort(-matches.scores, kind="stable")
    order = order[matches.outcomes[order] != IGNORED]
    positive, images = matches.outcomes[order] == TRUE_POSITIVE, matches.images[order]
    nth = np.cumsum(positive) - positive  # the true positive that a detection is counted with
    count = int(positive.sum())
    counted = nth < count  # what is ranked after the last true positive changes nothing
    ones = np.ones(int(counted.sum()))
    shape = count, len(matches.objects)
    detections = sparse.coo_array((ones, (nth[counted], images[counted])), shape=shape).tocsr()
    return _Curve(images[positive], detections)


def _average_precision(curve: _Curve, by_image: Floats, objects: Floats, rule: Rule) -> Floats:
    """One class's average precision in each resample [R]; 0 where it has no object.

    A true positive of weight 0 repeats the recall before it at no higher precision, and so changes
    nothing.

    Args:
        by_image: weights [N, R].
        objects: how many each resample has [R].
    """
    resamples = by_image.shape[1]
    if not len(curve.images):
        return np.zeros(resamples)
    drawn = by_image[curve.images]
    hits = np.cumsum(drawn, axis=0)
    precision = ratio(hits, np.cumsum(curve.detections @ by_image, axis=0))
    best = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or a higher one
    if rule == "all-point":
        return ratio((drawn * best).sum(axis=0), objects)
    recall = ratio(hits, np.broadcast_to(objects, hits.shape))
    best = np.concatenate([best, np.zeros((1, resamples))])
    places = np.stack([(recall < level).sum(axis=0) for level in RECALLS[rule]], axis=1)
    return best[places, np.arange(resamples)[:, None]].sum(axis=1) / len(RECALLS[rule])


def coco_average_precision(results: DetectionResults) -> float:
    """COCO's AP in percent, by pycocotools: the mean over classes and IoU 0.50, 0.55 ... 0.95.

    Difficult objects are its crowds, as in mmdet's converter of VOC. Widths are differences.
    """
    images = [dict(id=image) for image in range(1, len(results.images) + 1)]
    sides = coco_annotations(results.ground_truth), coco_annotations(results.detections)
    evaluation = coco_evaluation(images, results.classes, *sides)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    counted = precision[precision > -1]
    return 100 * float(counted.mean()) if counted.size else 0.0


def coco_evaluation(
    images: Sequence[dict[str, Any]],
    classes: Sequence[str],
    objects: list[dict[str, Any]],
    detections: list[dict[str, Any]],
    kind: Literal["bbox", "segm"] = "bbox",
) -> COCOeval:
    """pycocotools' evaluation, with the detections of each image matched to its objects.

    Args:
        images, objects, detections: in the form of COCO's JSON; classes are numbered from 0.
        kind: whether boxes or masks are matched.
    """
    categories = [dict(id=label, name=name) for label, name in enumerate(classes)]
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for annotations in (objects, detections):
            side = COCO()
            side.dataset = dict(images=images, categories=categories, annotations=annotations)
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, kind)
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
    return evaluation


def coco_annotations(of_images: Sequence[Detections | GroundTruth]) -> list[dict[str, Any]]:
    """Boxes of images in the form of COCO's JSON."""
    rows: list[dict[str, Any]] = []
    for image, boxes in enumerate(of_images, 1):
        for index, (x1, y1, x2, y2) in enumerate(boxes.boxes.astype(np.float64).tolist()):
            row = dict(
                id=len(rows) + 1,
                image_id=image,
                category_id=int(boxes.labels[index]),
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=(x2 - x1) * (y2 - y1),
                iscrowd=0,
            )
            if isinstance(boxes, Detections):
                row["score"] = float(boxes.scores[index])
            else:
                row["iscrowd"] = int(boxes.difficult[index])
            rows.append(row)
    return rows


def save(path: Path, results: DetectionResults) -> None:
    """Writes the `columns` as a compressed .npz, whole or not at all."""
    write_npz(path, **columns(results))


def columns(results: DetectionResults) -> dict[str, NDArray[Any]]:
    """The arrays of the file of a test's detections.

    `classes`, `images`; `boxes` (float32), `scores` (float32) and `labels` of all detections, those
    of image i from `ends[i - 1]` to `ends[i]`; and likewise `object_boxes`, `object_labels`,
    `object_difficult`, `object_ends`.
    """
    detections, truth = results.detections, results.ground_truth
    return dict(
        classes=np.array(results.classes),
        images=np.array(results.images),
        boxes=_stack([d.boxes for d in detections], np.float32, 4),
        scores=_stack([d.scores for d in detections], np.float32),
        labels=_stack([d.labels for d in detections], np.int16),
        ends=np.cumsum([len(d.labels) for d in detections], dtype=np.int64),
        object_boxes=_stack([t.boxes for t in truth], np.float32, 4),
        object_labels=_stack([t.labels for t in truth], np.int16),
        object_difficult=_stack([t.difficult for t in truth], np.bool_),
        object_ends=np.cumsum([len(t.labels) for t in truth], dtype=np.int64),
    )


def _stack(parts: Sequence[NDArray[Any]], kind: Any, *shape: int) -> NDArray[Any]:
    return np.concatenate([np.asarray(p, kind).reshape(-1, *shape) for p in parts])


def load(path: Path) -> DetectionResults:
    """What `save` wrote."""
    with np.load(path) as file:
        return of_columns(file)


def of_columns(file: Mapping[str, NDArray[Any]]) -> DetectionResults:
    """What `columns` were made of."""
    ends, object_ends = file["ends"][:-1], file["object_ends"][:-1]
    detections = [np.split(file[key], ends) for key in ("boxes", "scores", "labels")]
    objects = [
        np.split(file[f"object_{key}"], object_ends) for key in ("boxes", "labels", "difficult")
    ]
    return DetectionResults(
        classes=tuple(file["classes"].tolist()),
        images=tuple(file["images"].tolist()),
        detections=tuple(Detections(*of_image) for of_image in zip(*detections, strict=True)),
        ground_truth=tuple(GroundTruth(*of_image) for of_image in zip(*objects, strict=True)),
    )
