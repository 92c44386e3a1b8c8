"""Average precision of detectors by PASCAL VOC's rules, and COCO's as an extra.

Pure functions of per-picture detections and objects, so that a mean average precision can be
computed again from what a run has kept, for any choice of pictures: a bootstrap's, for example.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.files import write_atomically

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]
Rule = Literal["11-point", "all-point"]


@dataclass(frozen=True)
class Detections:
    """What was found in one picture: boxes [n, 4] (x1, y1, x2, y2 in pixels), scores, labels."""

    boxes: Floats
    scores: Floats
    labels: Integers


@dataclass(frozen=True)
class Objects:
    """What is in one picture: boxes [m, 4], labels [m], and which count neither way [m]."""

    boxes: Floats
    labels: Integers
    difficult: NDArray[np.bool_]


def overlaps(boxes: Floats, others: Floats) -> Floats:
    """Intersection over union [n, m] of boxes [n, 4] and [m, 4] that include their last pixel."""
    boxes, others = boxes.astype(np.float64)[:, None], others.astype(np.float64)[None]
    low, high = np.maximum(boxes, others), np.minimum(boxes, others)
    sides = np.clip(high[..., 2:] - low[..., :2] + 1, 0, None)
    shared = sides.prod(axis=-1)
    areas = [(b[..., 2:] - b[..., :2] + 1).prod(axis=-1) for b in (boxes, others)]
    return shared / (areas[0] + areas[1] - shared)


def verdicts(found: Detections, there: Objects, label: int, iou: float) -> tuple[Floats, Integers]:
    """Scores of one class's detections in a picture, the surest first, and 1, 0 or -1 for each.

    1 is right and 0 wrong; -1, on a difficult object, counts neither way. A detection belongs to
    the object that it overlaps most, and of several on one object only the surest is right. Equal
    scores keep the order of the detector. (VOCdevkit, VOCevaldet.m.)
    """
    mine = np.flatnonzero(found.labels == label)
    mine = mine[np.argsort(-found.scores[mine], kind="stable")]
    which = there.labels == label
    right = np.zeros(len(mine), np.int64)
    if len(mine) and which.any():
        table = overlaps(found.boxes[mine], there.boxes[which])
        best, difficult = table.argmax(axis=1), there.difficult[which]
        taken = np.zeros(len(difficult), bool)
        for row, index in enumerate(best):
            if table[row, index] < iou:
                continue
            if difficult[index]:
                right[row] = -1
            elif not taken[index]:
                taken[index], right[row] = True, 1
    return found.scores[mine], right


def average_precision(scores: Floats, right: Integers, objects: int, rule: Rule) -> float:
    """The average precision of one class.

    Args:
        scores, right: of all detections, in the order of the pictures; `right` as of `verdicts`.
        objects: how many there are to be found; at least 1.
        rule: VOC2007's mean of the precision at the recalls 0, 0.1 ... 1, or the whole area under
            the curve, VOC's from 2010 on.
    """
    ranked = right[np.argsort(-scores, kind="stable")]
    ranked = ranked[ranked >= 0]
    hits = np.cumsum(ranked)
    recall, precision = hits / objects, hits / np.arange(1, len(ranked) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or a higher one
    if rule == "11-point":
        # by steps of 0.1 as GluonCV and mmdet have them: 3 of them are a little more than 0.3
        places = np.searchsorted(recall, np.arange(11) * 0.1)
        return float(np.append(best, 0)[places].sum() / 11)
    return float((np.diff(recall, prepend=0) * best).sum())


def mean_average_precision(
    found: Sequence[Detections],
    there: Sequence[Objects],
    classes: int,
    rule: Rule,
    iou: float = 0.5,
) -> float:
    """The mean over classes in percent; those without an object that counts are left out.

    Args:
        found, there: one of each for every picture, in the same order.
    """
    found_precisions = []
    for label in range(classes):
        objects = sum(int(((t.labels == label) & ~t.difficult).sum()) for t in there)
        if objects:
            parts = [verdicts(f, t, label, iou) for f, t in zip(found, there, strict=True)]
            scores, right = (np.concatenate(column) for column in zip(*parts, strict=True))
            found_precisions.append(average_precision(scores, right, objects, rule))
    return 100 * float(np.mean(found_precisions)) if found_precisions else 0.0


def coco_average_precision(
    found: Sequence[Detections], there: Sequence[Objects], classes: int
) -> float:
    """COCO's AP in percent, by pycocotools: the mean over classes and IoU 0.50, 0.55 ... 0.95.

    Difficult objects are its crowds, as in mmdet's converter of VOC. Widths are differences.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def entries(pictures: Sequence[Any]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for image, picture in enumerate(pictures, 1):
            for index, (x1, y1, x2, y2) in enumerate(picture.boxes.astype(np.float64).tolist()):
                row = dict(
                    id=len(rows) + 1,
                    image_id=image,
                    category_id=int(picture.labels[index]),
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    iscrowd=0,
                )
                if isinstance(picture, Detections):
                    row["score"] = float(picture.scores[index])
                else:
                    row["iscrowd"] = int(picture.difficult[index])
                rows.append(row)
        return rows

    shared = dict(
        images=[dict(id=image) for image in range(1, len(there) + 1)],
        categories=[dict(id=label, name=str(label)) for label in range(classes)],
    )
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for pictures in (there, found):
            side = COCO()
            side.dataset = shared | dict(annotations=entries(pictures))
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    counted = precision[precision > -1]
    return 100 * float(counted.mean()) if counted.size else 0.0


@dataclass(frozen=True)
class Kept:
    """A detector's test, picture by picture: names, what was found and what is there."""

    classes: tuple[str, ...]
    images: tuple[str, ...]
    found: tuple[Detections, ...]
    there: tuple[Objects, ...]


def save(path: Path, kept: Kept) -> None:
    """Writes a compressed .npz, whole or not at all.

    Its arrays: `classes`, `images`; `boxes` (float32), `scores` (float32) and `labels` of all
    detections, those of picture i from `ends[i - 1]` to `ends[i]`; and likewise `object_boxes`,
    `object_labels`, `object_difficult`, `object_ends`.
    """
    columns = dict(
        classes=np.array(kept.classes),
        images=np.array(kept.images),
        boxes=_stack([f.boxes for f in kept.found], np.float32, 4),
        scores=_stack([f.scores for f in kept.found], np.float32),
        labels=_stack([f.labels for f in kept.found], np.int16),
        ends=np.cumsum([len(f.labels) for f in kept.found], dtype=np.int64),
        object_boxes=_stack([t.boxes for t in kept.there], np.float32, 4),
        object_labels=_stack([t.labels for t in kept.there], np.int16),
        object_difficult=_stack([t.difficult for t in kept.there], np.bool_),
        object_ends=np.cumsum([len(t.labels) for t in kept.there], dtype=np.int64),
    )
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **columns)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def _stack(parts: Sequence[NDArray[Any]], kind: Any, *columns: int) -> NDArray[Any]:
    return np.concatenate([np.asarray(p, kind).reshape(-1, *columns) for p in parts])


def load(path: Path) -> Kept:
    """What `save` wrote."""
    with np.load(path) as file:
        ends, object_ends = file["ends"][:-1], file["object_ends"][:-1]
        detections = [np.split(file[key], ends) for key in ("boxes", "scores", "labels")]
        objects = [
            np.split(file[f"object_{key}"], object_ends) for key in ("boxes", "labels", "difficult")
        ]
        return Kept(
            classes=tuple(file["classes"].tolist()),
            images=tuple(file["images"].tolist()),
            found=tuple(Detections(*columns) for columns in zip(*detections, strict=True)),
            there=tuple(Objects(*columns) for columns in zip(*objects, strict=True)),
        )
