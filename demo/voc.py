"""`VOCdevkit/{VOC2007,VOC2012}`: images of one to four objects with bounding boxes.

As in the challenge's guidelines, a box bounds the visible part of an object, without what the image
border cuts off (`truncated`) or another object hides.

`VOCdevkit/annotations` has the same objects with their masks in COCO's layout, difficult ones as
crowds. trainval is of both years.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from demo.backgrounds import background
from demo.objects import paint_object, random_placement
from demo.painting import photograph
from demo.seeding import generator
from demo.shapes import Placement, coverage, extent
from demo.sizes import Sizes
from demo.tasks import Task
from demo.taxonomy import VOC

NAME = "VOCdevkit"
VERSION = 3  # increase if the same seed renders other bytes
_JPEG_QUALITY = 90
_LONG_SIDES, _SHORT_SIDES = (144, 177), (108, 133)  # pixels, without the upper end
_PORTRAITS = 0.25  # probability
_DIAMETERS = (34.0, 96.0)  # pixels, of the circumscribed circle; boxes are a little smaller
_TINY_DIAMETERS = (14.0, 20.0)
_TINY_SHARE = 0.04
_LEAST_VISIBLE = 0.3  # share of an object; placements that leave less are redrawn
_CLEARLY_VISIBLE = 0.5  # share of an object; with less it counts as difficult
_TRUNCATION = 1.5  # pixels beyond the border; with more an object counts as truncated

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Instance:
    """An annotated object; `mask`, bool [height, width], is its visible pixels."""

    name: str
    mask: np.ndarray
    truncated: bool
    difficult: bool

    @property
    def box(self) -> Box:
        """(xmin, ymin, xmax, ymax) in VOC's pixel coordinates: 1-based, both ends inclusive."""
        xs = np.flatnonzero(self.mask.any(axis=0))
        ys = np.flatnonzero(self.mask.any(axis=1))
        return int(xs[0]) + 1, int(ys[0]) + 1, int(xs[-1]) + 1, int(ys[-1]) + 1


@dataclass(frozen=True)
class Record:
    """An image's list entries.

    Attributes:
        presence: of a class: 1, or 0 if all its objects are difficult.
        size: height and width.
        objects: in the form of COCO's JSON, but without ids.
    """

    year: str
    split: str
    stem: str
    presence: dict[str, int]
    size: tuple[int, int]
    objects: list[dict[str, Any]]


def visible_masks(masks: list[np.ndarray]) -> list[np.ndarray]:
    """The visible part of each bool mask [height, width] if later ones hide earlier ones."""
    hidden = np.zeros((), bool)
    visible: list[np.ndarray] = []
    for mask in reversed(masks):
        visible.append(mask & ~hidden)
        hidden = hidden | mask
    return visible[::-1]


def _arrange(
    rng: np.random.Generator, height: int, width: int
) -> tuple[list[str], list[Placement], list[np.ndarray]]:
    """Names, placements and masks (before occlusion) of an image's objects, back to front."""
    classes = list(VOC)
    names: list[str] = []
    placements: list[Placement] = []
    masks: list[np.ndarray] = []
    for _ in range(rng.integers(1, 5)):
        name = classes[rng.integers(len(classes))]
        tiny = rng.random() < _TINY_SHARE
        for _attempt in range(20):
            placement = random_placement(
                rng,
                x=(0.1 * width, 0.9 * width),
                y=(0.1 * height, 0.9 * height),
                diameter=_TINY_DIAMETERS if tiny else _DIAMETERS,
            )
            mask = coverage(VOC[name].shape, placement, height, width).full(height, width) > 0.5
            candidate = [*masks, mask]
            left = zip(candidate, visible_masks(candidate), strict=True)
            if all(seen.sum() > _LEAST_VISIBLE * max(whole.sum(), 40) for whole, seen in left):
                names.append(name)
                placements.append(placement)
                masks = candidate
                break
    return names, placements, masks


def object_scene(
    rng: np.random.Generator, height: int, width: int
) -> tuple[np.ndarray, list[Instance]]:
    """An image, uint8 [height, width, 3], and its annotated objects, back to front."""
    image = background(rng, height, width)
    names, placements, masks = _arrange(rng, height, width)
    instances = []
    for name, placement, whole, seen in zip(
        names, placements, masks, visible_masks(masks), strict=True
    ):
        paint_object(image, VOC[name], placement, rng)
        lower, upper = extent(VOC[name].shape, placement)
        beyond = max(-lower.min(), upper[0] - width, upper[1] - height)
        tiny = placement.diameter < _TINY_DIAMETERS[1]
        instances.append(
            Instance(
                name,
                mask=seen,
                truncated=bool(beyond > _TRUNCATION),
                difficult=bool(tiny or seen.sum() < _CLEARLY_VISIBLE * whole.sum()),
            )
        )
    return photograph(image, rng), instances


def _append(parent: ElementTree.Element, **texts: str | int) -> None:
    for tag, text in texts.items():
        ElementTree.SubElement(parent, tag).text = str(text)


def annotation(year: str, stem: str, shape: tuple[int, ...], instances: list[Instance]) -> str:
    """The XML of one image, indented with tabs like the official files."""
    root = ElementTree.Element("annotation")
    _append(root, folder=year, filename=f"{stem}.jpg")
    source = ElementTree.SubElement(root, "source")
    _append(source, database=f"The {year} Database", annotation=f"PASCAL {year}", image="rendered")
    size = ElementTree.SubElement(root, "size")
    _append(size, width=shape[1], height=shape[0], depth=shape[2])
    _append(root, segmented=0)
    for instance in instances:
        item = ElementTree.SubElement(root, "object")
        _append(
            item,
            name=instance.name,
            pose="Unspecified",
            truncated=int(instance.truncated),
            difficult=int(instance.difficult),
        )
        box = ElementTree.SubElement(item, "bndbox")
        _append(box, **dict(zip(("xmin", "ymin", "xmax", "ymax"), instance.box, strict=True)))
    ElementTree.indent(root, space="\t")
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's form of a mask: pixels that are 0, then 1, then 0 ..., column by column."""
    pixels = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    return np.diff(changes, prepend=0, append=mask.size).tolist()


def coco_object(instance: Instance) -> dict[str, Any]:
    """An object in the form of COCO's JSON, without ids; categories are counted from 1."""
    xmin, ymin, xmax, ymax = instance.box
    return dict(
        category_id=1 + list(VOC).index(instance.name),
        bbox=[xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1],
        area=int(instance.mask.sum()),
        iscrowd=int(instance.difficult),
        segmentation=dict(size=list(instance.mask.shape), counts=run_lengths(instance.mask)),
    )


def coco_file(records: list[Record]) -> str:
    """The JSON of a split."""
    images, annotations = [], []
    for number, record in enumerate(records, 1):
        height, width = record.size
        name = f"{record.year}/JPEGImages/{record.stem}.jpg"
        images.append(dict(id=number, file_name=name, height=height, width=width))
        annotations += [dict(image_id=number, **it) for it in record.objects]
    annotations = [dict(id=number, **it) for number, it in enumerate(annotations, 1)]
    categories = [dict(id=number, name=name) for number, name in enumerate(VOC, 1)]
    return json.dumps(dict(images=images, annotations=annotations, categories=categories)) + "\n"


def tasks(sizes: Sizes) -> list[Task]:
    """All images; the category is the year's folder."""
    counts = {
        ("VOC2007", "trainval"): sizes.voc2007_trainval,
        ("VOC2007", "test"): sizes.voc2007_test,
        ("VOC2012", "trainval"): sizes.voc2012_trainval,
    }
    return [
        Task(NAME, split, index, category=year)
        for (year, split), count in counts.items()
        for index in range(count)
    ]


def _stem(task: Task) -> str:
    """The name of an image; in VOC2007, trainval and test share one sequence of numbers."""
    if task.category == "VOC2012":
        return f"2008_{task.index + 1:06d}"
    return f"{2 * task.index + (1 if task.split == 'trainval' else 2):06d}"


def write(task: Task, root: Path, seed: int) -> Record:
    """Renders one image and its annotation into files below `root`."""
    rng = generator(seed, NAME, task.category, task.split, task.index)
    long, short = int(rng.integers(*_LONG_SIDES)), int(rng.integers(*_SHORT_SIDES))
    height, width = (long, short) if rng.random() < _PORTRAITS else (short, long)
    image, instances = object_scene(rng, height, width)
    folder, stem = root / NAME / task.category, _stem(task)
    for child in ("JPEGImages", "Annotations"):
        (folder / child).mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / "JPEGImages" / f"{stem}.jpg", quality=_JPEG_QUALITY)
    text = annotation(task.category, stem, image.shape, instances)
    (folder / "Annotations" / f"{stem}.xml").write_text(text)

    split = task.split
    if split == "trainval":
        split = "val" if task.index % 2 else "train"
    presence: dict[str, int] = {}
    for instance in instances:
        presence[instance.name] = max(presence.get(instance.name, 0), int(not instance.difficult))
    objects = [coco_object(instance) for instance in instances]
    return Record(task.category, split, stem, presence, (height, width), objects)


def finish(root: Path, sizes: Sizes, records: list[Record]) -> dict[str, int]:
    """Writes each year's image lists, overall and by class, and the masks; returns image counts."""
    members: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        members.setdefault((record.year, record.split), []).append(record)
        if record.split in ("train", "val"):
            members.setdefault((record.year, "trainval"), []).append(record)
    for (year, split), listed in members.items():
        folder = root / NAME / year / "ImageSets" / "Main"
        folder.mkdir(parents=True, exist_ok=True)
        listed = sorted(listed, key=lambda record: record.stem)
        (folder / f"{split}.txt").write_text("".join(f"{record.stem}\n" for record in listed))
        for name in VOC:
            lines = (f"{record.stem} {record.presence.get(name, -1):2d}\n" for record in listed)
            (folder / f"{name}_{split}.txt").write_text("".join(lines))
    (root / NAME / "annotations").mkdir(parents=True, exist_ok=True)
    for split, trained_on in (("trainval", True), ("test", False)):
        listed = [record for record in records if (record.split != "test") == trained_on]
        text = coco_file(sorted(listed, key=lambda record: (record.year, record.stem)))
        (root / NAME / "annotations" / f"instances_{split}.json").write_text(text)
    return {f"{year}/{split}": len(listed) for (year, split), listed in sorted(members.items())}
