"""mmseg's parts for segmentation: datasets (ADE20K, CamVid), blur, metric, multi-scale test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseTTAModel
from mmengine.registry import DATASETS, METRICS, MODELS, TRANSFORMS
from mmengine.structures import PixelData
from mmseg.datasets import BaseSegDataset
from torch import Tensor

from core.metrics import segmentation
from core.metrics.statistic import values
from pretrain.images.datasets import missing

CAMVID = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car"),
    *("Pedestrian", "Bicyclist"),
)


@DATASETS.register_module()
class CamVid(BaseSegDataset):
    """CamVid's 11 classes. mmseg ignores label 11, "Void", because it is not among them."""

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


@METRICS.register_module()
class ConfusionMetric(BaseMetric):
    """Pixel accuracy and mean IoU in percent; unlike mmseg's, not rounded, and saved per image.

    Args:
        keep: file for the confusion matrix of every image (`core.metrics.segmentation.save`).
    """

    default_prefix = None

    def __init__(self, keep: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keep = keep

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        classes = len(self.dataset_meta["classes"])
        for sample in data_samples:
            truth, prediction = (
                sample[part]["data"].squeeze(0).cpu().numpy()
                for part in ("gt_sem_seg", "pred_sem_seg")
            )
            name = Path(sample.get("img_path", "")).stem
            self.results.append((name, segmentation.count(truth, prediction, classes)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        tested = segmentation.SegmentationResults(
            tuple(self.dataset_meta["classes"]), *zip(*results, strict=True)
        )
        if self.keep is not None:
            segmentation.save(Path(self.keep), tested)
        return values(tested)


@MODELS.register_module()
class MeanOfViews(BaseTTAModel):
    """A segmenter's mean prediction over views of an image: several scales, plain and mirrored.

    As in mmseg's SegTTAModel, it averages the softmax at the label map's size, after mirroring
    back. Here the views are processed one by one, so memory does not grow with their number.
    """

    def test_step(self, data: dict) -> list:
        total: Tensor | None = None
        for view in range(len(data["inputs"])):
            (found,) = self.module.test_step({key: value[view] for key, value in data.items()})
            share = found.seg_logits.data.softmax(dim=0)
            total = share if total is None else total + share
            found.set_data(dict(seg_logits=PixelData()))
        assert total is not None
        found.set_data(dict(pred_sem_seg=PixelData(data=total.argmax(dim=0, keepdim=True))))
        return [found]

    def merge_preds(self, data_samples_list: list) -> list:
        raise NotImplementedError("test_step averages the views")


def views(pipeline: Sequence[dict], scales: Sequence[float]) -> list[dict]:
    """The test pipeline that yields every view of an image.

    Args:
        pipeline: the single-scale one: reading, resizing, labels, packing.
        scales: factors of its image size.
    """
    read, resize, labels, pack = pipeline
    sizes = [resize | dict(scale=tuple(round(s * f) for s in resize["scale"])) for f in scales]
    mirrors = [dict(type="RandomFlip", prob=prob) for prob in (0.0, 1.0)]
    return [read, dict(type="TestTimeAug", transforms=[sizes, mirrors, [labels], [pack]])]


def dataset_configs(
    data: Config, data_root: Path, role: str, pipeline: Sequence[dict]
) -> list[dict]:
    """mmseg's config of a split, "train" or "test", which is a single part.

    Raises:
        InputError: a folder is missing, an image has no label map, or the number of images is not
            the config's.
    """
    folder, labels = folders(data, data_root, role)
    images = sorted(folder.glob("*.jpg"))
    for image in images:
        if not (labels / f"{image.stem}.png").is_file():
            raise missing(labels / f"{image.stem}.png", f"no labels for {image.name}", data)
    split = data.splits[role]
    if len(images) != data.sizes[split]:
        raise missing(folder, f"{len(images)} images, expected {data.sizes[split]}", data)
    config = dict(
        **data.dataset,
        data_root=str(data_root / data.root),
        data_prefix=dict(img_path=data.folders[role][0], seg_map_path=data.folders[role][1]),
        pipeline=list(pipeline),
    )
    return [config]


def folders(data: Config, data_root: Path, role: str) -> tuple[Path, Path]:
    """The folders of a split's images and label maps."""
    images, labels = (data_root / data.root / name for name in data.folders[role])
    for folder in (images, labels):
        if not folder.is_dir():
            raise missing(folder, "no such folder", data)
    return images, labels


def fingerprint_parts(data: Config, data_root: Path) -> list[Path]:
    """The files of a dataset's fingerprint: images and label maps of both splits."""
    found: list[Path] = []
    for role in ("train", "test"):
        images, labels = folders(data, data_root, role)
        found += [*sorted(images.glob("*.jpg")), *sorted(labels.glob("*.png"))]
    return found
