"""Detection data in PASCAL VOC's layout, and VOC's mean average precision, for mmdet."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.datasets import XMLDataset
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import DATASETS, METRICS

from core.errors import InputError
from core.metrics import detection
from core.metrics.detection import DetectionResults, Detections, GroundTruth
from core.metrics.statistic import values
from pretrain.images.datasets import missing


@DATASETS.register_module()
class VocLayout(XMLDataset):
    """Images and boxes in VOC's layout, with VOC's rules for difficult objects.

    Objects marked difficult are used in training and ignored in the test. Boxes without an area
    would make mmdet's box loss NaN: they are left out of training, and their number is logged.
    """

    def load_data_list(self) -> list[dict]:
        self.dropped = 0
        data_list = super().load_data_list()
        if self.dropped:
            print_log(
                f"left out {self.dropped} boxes without an area in {self.ann_file}", "current"
            )
        return data_list

    def _parse_instance_info(
        self, raw_ann_info: ET.ElementTree, minus_one: bool = True
    ) -> list[dict]:
        names = {obj.findtext("name") for obj in raw_ann_info.findall("object")}
        if strange := sorted(str(name) for name in names - set(self.metainfo["classes"])):
            raise InputError(
                f"{self.ann_file}: an object of class {strange[0]!r}, expected one of "
                f"{', '.join(self.metainfo['classes'])}"
            )
        instances = super()._parse_instance_info(raw_ann_info, minus_one)
        if self.test_mode:
            return instances
        whole = [
            i for i in instances if i["bbox"][2] > i["bbox"][0] and i["bbox"][3] > i["bbox"][1]
        ]
        self.dropped += len(instances) - len(whole)
        return [instance | {"ignore_flag": 0} for instance in whole]


@METRICS.register_module()
class VocMap(BaseMetric):
    """Mean average precision at IoU 0.5 in percent, by VOC's rules, and COCO's AP.

    VOC2007 takes the mean precision at the recalls 0, 0.1 ... 1, VOC2012 the area under the
    precision-recall curve. Classes without an object in the test set are left out.

    Args:
        keep: file for the detections of every image (`core.metrics.detection.save`).
    """

    default_prefix = None

    def __init__(self, keep: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keep = keep

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            predicted, counted, difficult = (
                {key: value.cpu().numpy() for key, value in sample[part].items()}
                for part in ("pred_instances", "gt_instances", "ignored_instances")
            )
            found = Detections(predicted["bboxes"], predicted["scores"], predicted["labels"])
            truth = GroundTruth(
                np.concatenate([counted["bboxes"], difficult["bboxes"]]),
                np.concatenate([counted["labels"], difficult["labels"]]),
                np.repeat([False, True], [len(counted["labels"]), len(difficult["labels"])]),
            )
            self.results.append((str(sample.get("img_id", "")), found, truth))

    def compute_metrics(self, results: list) -> dict[str, float]:
        tested = DetectionResults(tuple(self.dataset_meta["classes"]), *zip(*results, strict=True))
        if self.keep is not None:
            detection.save(Path(self.keep), tested)
        return values(tested) | {"ap_coco": detection.coco_average_precision(tested)}


def dataset_configs(
    data: Config, data_root: Path, role: str, pipeline: Sequence[dict]
) -> list[dict]:
    """mmdet's dataset configs for the parts of a split: "train" or "test".

    Raises:
        InputError: a folder or file is missing, or the number of images is not the config's.
    """
    root = data_root / data.root
    if not root.is_dir():
        raise missing(root, "no such folder", data)
    classes = class_names(data, root)
    found, configs = 0, []
    for year, part in data.parts[role]:
        folder = root / year
        listing = folder / "ImageSets" / "Main" / f"{part}.txt"
        if not listing.is_file():
            raise missing(listing, "no such file", data)
        names = listing.read_text().split()
        for name in names:
            for path in (
                folder / "JPEGImages" / f"{name}.jpg",
                folder / "Annotations" / f"{name}.xml",
            ):
                if not path.is_file():
                    raise missing(path, f"no such file, but {listing} names it", data)
        found += len(names)
        configs.append(
            dict(
                type="VocLayout",
                data_root=f"{root}/",
                ann_file=str(listing.relative_to(root)),
                data_prefix=dict(sub_data_root=f"{year}/" if year else ""),
                metainfo=dict(classes=classes),
                test_mode=role == "test",
                filter_cfg=None,
                pipeline=list(pipeline),
            )
        )
    if found != data.sizes[role]:
        raise missing(root, f"{role} has {found} images, expected {data.sizes[role]}", data)
    return configs


def part_sizes(data: Config, data_root: Path, role: str) -> list[int]:
    """Number of images in each part of a split."""
    root = data_root / data.root
    listings = [
        root / year / "ImageSets" / "Main" / f"{part}.txt" for year, part in data.parts[role]
    ]
    return [len(listing.read_text().split()) for listing in listings]


def class_names(data: Config, root: Path) -> tuple[str, ...]:
    """The dataset's classes in order: from its config, or else from its classes.txt."""
    if data.classes is not None:
        return tuple(data.classes)
    listing = root / "classes.txt"
    if not listing.is_file():
        raise missing(listing, "no such file", data)
    return tuple(listing.read_text().split())


def fingerprint_parts(data: Config, data_root: Path) -> list[Path]:
    """The files of a dataset's fingerprint: lists, annotations and images of all its parts."""
    root = data_root / data.root
    files = []
    for role in ("train", "test"):
        for year, part in data.parts[role]:
            listing = root / year / "ImageSets" / "Main" / f"{part}.txt"
            files.append(listing)
            for name in listing.read_text().split():
                files += [
                    root / year / "Annotations" / f"{name}.xml",
                    root / year / "JPEGImages" / f"{name}.jpg",
                ]
    return files
