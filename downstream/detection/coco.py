"""Detection data in COCO's layout: a JSON file a split, with a box and a mask of every object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from pycocotools import mask as run_lengths
from pydantic import AfterValidator, BaseModel, FiniteFloat, PositiveInt, ValidationError

from core.errors import InputError
from pretrain.images.datasets import missing


def _usable(segmentation: list[Any] | dict[str, Any]) -> list[Any] | dict[str, Any]:
    """Run lengths as they are; of polygons those of three points or more.

    COCO has a few smaller ones, and pycocotools would take four numbers for a box.
    """
    if isinstance(segmentation, dict):
        if not (isinstance(segmentation.get("counts"), list | str) and "size" in segmentation):
            raise ValueError("run lengths without counts or size")
        return segmentation
    polygons = [it for it in segmentation if isinstance(it, list) and len(it) >= 6]
    if not polygons or any(len(it) % 2 for it in polygons):
        raise ValueError("expected run lengths, or polygons of three points or more")
    return polygons


class _Category(BaseModel):
    id: int
    name: str


class _Image(BaseModel):
    id: int
    file_name: str
    height: PositiveInt
    width: PositiveInt


class _Annotation(BaseModel):
    id: int
    image_id: int
    category_id: int
    bbox: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]  # left, top, width, height
    segmentation: Annotated[list[Any] | dict[str, Any], AfterValidator(_usable)]
    iscrowd: Literal[0, 1] = 0


class _File(BaseModel):
    categories: list[_Category]
    images: list[_Image]
    annotations: list[_Annotation]


@dataclass(frozen=True)
class Annotations:
    """What a JSON file says.

    Attributes:
        classes: the names of its categories by ascending id. Ids may have gaps.
        images: of each its `file_name`, `img_id`, `height`, `width` and `instances`, as mmdet
            calls what it reads of an object.
    """

    classes: tuple[str, ...]
    images: list[dict[str, Any]]


def read(path: Path) -> Annotations:
    """A JSON file in COCO's layout.

    Raises:
        InputError: it is no such file, or an item in it does not fit; the message names the item.
    """
    try:
        found = _File.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        item = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {item}{': ' if item else ''}{first['msg']}") from error
    categories = sorted(found.categories, key=lambda it: it.id)
    labels = {category.id: label for label, category in enumerate(categories)}
    images = {it.id: it.model_dump(exclude={"id"}) for it in found.images}
    for identity, image in images.items():
        image |= dict(img_id=identity, instances=[])
    for it in found.annotations:
        item = f"{path}: annotation {it.id}"
        if it.image_id not in images:
            raise InputError(f"{item}: no image has the id {it.image_id}")
        if it.category_id not in labels:
            raise InputError(f"{item}: no category has the id {it.category_id}")
        image = images[it.image_id]
        _check_size(it.segmentation, image["height"], image["width"], item)
        left, top, width, height = it.bbox
        image["instances"].append(
            dict(
                bbox=[left, top, left + width, top + height],
                bbox_label=labels[it.category_id],
                ignore_flag=it.iscrowd,
                mask=it.segmentation,
            )
        )
    return Annotations(tuple(it.name for it in categories), list(images.values()))


def _check_size(segmentation: Any, height: int, width: int, item: str) -> None:
    if not isinstance(segmentation, dict):
        return
    size, counts = segmentation["size"], segmentation["counts"]
    if size != [height, width]:
        raise InputError(f"{item}: its mask is of size {size}, its image {[height, width]}")
    if isinstance(counts, list) and sum(counts) != height * width:
        raise InputError(f"{item}: its run lengths add up to {sum(counts)}, not {height * width}")


def compressed(segmentation: Any, height: int, width: int) -> bytes:
    """A mask, polygons or run lengths, as COCO's compressed run lengths."""
    if isinstance(segmentation, list):
        return run_lengths.merge(run_lengths.frPyObjects(segmentation, height, width))["counts"]
    if isinstance(segmentation["counts"], list):
        return run_lengths.frPyObjects(segmentation, height, width)["counts"]
    return segmentation["counts"].encode()


@DATASETS.register_module()
class CocoLayout(BaseDataset):
    """Images with the box and the mask of every object.

    Crowds are not learned from: what overlaps them is neither object nor background. Images without
    an object are background as a whole. Boxes narrower or lower than a pixel, of which mmdet's box
    loss can become NaN, are left out of training, and their number is logged. A sample of a test
    has `truth`: boxes, labels, crowds and compressed masks of all objects, as the file has them.
    """

    def load_data_list(self) -> list[dict]:
        images = read(Path(self.ann_file)).images
        dropped = 0
        for image in images:
            image["img_path"] = str(Path(self.data_prefix["img_path"]) / image.pop("file_name"))
            if self.test_mode:
                image["truth"] = _truth(image)
                continue
            whole = [it for it in image["instances"] if _sides(it["bbox"]) >= 1]
            dropped += len(image["instances"]) - len(whole)
            image["instances"] = whole
        if dropped:
            print_log(f"left out {dropped} boxes without an area in {self.ann_file}", "current")
        return images


def _sides(box: Sequence[float]) -> float:
    """The shorter side of a box."""
    left, top, right, bottom = box
    return min(right - left, bottom - top)


def _truth(image: dict[str, Any]) -> dict[str, Any]:
    instances = image["instances"]
    size = image["height"], image["width"]
    return dict(
        boxes=np.array([it["bbox"] for it in instances], np.float32).reshape(-1, 4),
        labels=np.array([it["bbox_label"] for it in instances], np.int64),
        crowds=np.array([it["ignore_flag"] for it in instances], bool),
        masks=[compressed(it["mask"], *size) for it in instances],
    )


def dataset_configs(
    data: Config, data_root: Path, role: str, pipeline: Sequence[dict]
) -> list[dict]:
    """mmdet's config of a split, "train" or "test", which is a single part.

    Raises:
        InputError: the JSON file or an image is missing, an item does not fit, or there are other
            classes or not as many images as the config pins.
    """
    path, images = _places(data, data_root, role)
    found = read(path)
    for image in found.images:
        if not (images / image["file_name"]).is_file():
            raise missing(images / image["file_name"], f"named in {path}, but not there", data)
    if len(found.images) != (size := data.sizes[data.splits[role]]):
        raise missing(path, f"{len(found.images)} images, expected {size}", data)
    classes = class_names(data, data_root)
    if found.classes != classes or len(classes) != data.classes:
        raise missing(
            path, f"{len(found.classes)} classes, expected {data.classes}, the same in all", data
        )
    return [
        dict(
            type="CocoLayout",
            data_root=f"{data_root / data.root}/",
            ann_file=data.annotations[role],
            data_prefix=dict(img_path=data.folders[role]),
            metainfo=dict(classes=classes),
            test_mode=role == "test",
            pipeline=list(pipeline),
        )
    ]


def class_names(data: Config, data_root: Path) -> tuple[str, ...]:
    """The set's classes in order, as the smaller file, that of the test, has them."""
    return read(_places(data, data_root, "test")[0]).classes


def _places(data: Config, data_root: Path, role: str) -> tuple[Path, Path]:
    """The JSON file of a split, and the folder that the images are named from."""
    root = data_root / data.root
    if not root.is_dir():
        raise missing(root, "no such folder", data)
    path = root / data.annotations[role]
    if not path.is_file():
        raise missing(path, "no such file", data)
    return path, root / data.folders[role]


def fingerprint_parts(data: Config, data_root: Path) -> list[Path]:
    """The files that make a set what it is: the JSON files and images of both splits."""
    files = []
    for role in ("train", "test"):
        path, images = _places(data, data_root, role)
        files += [path, *(images / image["file_name"] for image in read(path).images)]
    return files
