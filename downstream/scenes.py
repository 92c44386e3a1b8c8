"""Segmentation data for mmseg, in the layouts of ADE20K and CamVid, and one augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import DATASETS, TRANSFORMS
from mmseg.datasets import BaseSegDataset

from pretrain.data import missing

CAMVID = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car"),
    *("Pedestrian", "Bicyclist"),
)


@DATASETS.register_module()
class CamVid(BaseSegDataset):
    """CamVid's 11 classes. Label 11 is void: as a class that is not asked for, mmseg ignores it."""

    METAINFO: ClassVar = dict(classes=(*CAMVID, "Void"), palette=[[i, i, i] for i in range(12)])

    def __init__(self, **kwargs) -> None:
        super().__init__(
            img_suffix=".jpg", seg_map_suffix=".png", metainfo=dict(classes=CAMVID), **kwargs
        )


@TRANSFORMS.register_module()
class RandomBlur(BaseTransform):
    """Gaussian blur half the time, its standard deviation U(0, 1) pixels, as in GluonCV's FCN."""

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def transform(self, results: dict) -> dict:
        if np.random.random() < self.prob:
            sigma = np.random.uniform(1e-3, 1)
            results["img"] = cv2.GaussianBlur(results["img"], (0, 0), sigma)
        return results


def dataset_config(data: Config, data_root: Path, role: str, pipeline: Sequence[dict]) -> dict:
    """mmseg's config of a split: "train" or "test".

    Raises:
        InputError: a folder is missing, an image has no label map, or there are not as many as the
            config pins.
    """
    images, labels = folders(data, data_root, role)
    pictures = sorted(images.glob("*.jpg"))
    for picture in pictures:
        if not (labels / f"{picture.stem}.png").is_file():
            raise missing(labels / f"{picture.stem}.png", f"no labels for {picture.name}", data)
    split = data.splits[role]
    if len(pictures) != data.sizes[split]:
        wanted = f"{len(pictures)} images, expected {data.sizes[split]}"
        raise missing(images, wanted, data)
    return dict(
        **data.dataset,
        data_root=str(data_root / data.root),
        data_prefix=dict(img_path=data.folders[role][0], seg_map_path=data.folders[role][1]),
        pipeline=list(pipeline),
    )


def folders(data: Config, data_root: Path, role: str) -> tuple[Path, Path]:
    """The folders of a split's images and label maps."""
    images, labels = (data_root / data.root / name for name in data.folders[role])
    for folder in (images, labels):
        if not folder.is_dir():
            raise missing(folder, "no such folder", data)
    return images, labels


def fingerprint_parts(data: Config, data_root: Path) -> list[Path]:
    """The files that make a set what it is: images and label maps of both splits."""
    found: list[Path] = []
    for role in ("train", "test"):
        images, labels = folders(data, data_root, role)
        found += [*sorted(images.glob("*.jpg")), *sorted(labels.glob("*.png"))]
    return found
