"""The segmentation metric on mmseg's inputs, and the multi-scale test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.registry import METRICS, MODELS, DefaultScope
from PIL import Image
from torch.nn import functional

from core import configs
from core.metrics import segmentation
from core.metrics.statistic import values
from downstream.backbones import timm_features
from downstream.segmentation import mask_datasets


def test_the_metric_measures_and_keeps_every_image(tmp_path: Path):
    with DefaultScope.overwrite_default_scope("mmseg"):
        settings = configs.read("segment", "fcn").test_evaluator
        metric = METRICS.build(settings | dict(keep=str(tmp_path / "confusion.npz")))
    metric.dataset_meta = dict(classes=["sky", "road"])
    truths = [[[0, 0, 1, 1], [1, 1, 255, 255]], [[1, 1]], [[255, 255]]]
    guesses = [[[0, 1, 1, 1], [1, 0, 0, 1]], [[0, 1]], [[0, 1]]]
    for i, (truth, guess) in enumerate(zip(truths, guesses, strict=True)):
        sample = dict(
            pred_sem_seg=dict(data=torch.tensor(guess)[None]),
            gt_sem_seg=dict(data=torch.tensor(truth)[None]),
            img_path=f"/somewhere/image{i}.jpg",
        )
        metric.process({}, [sample])
    measured = metric.evaluate(3)
    # 5 of 8 right; class 0: 1 of 4, class 1: 4 of 7
    assert measured == pytest.approx({"pix_acc": 100 * 5 / 8, "miou": 100 * (1 / 4 + 4 / 7) / 2})

    kept = segmentation.load(tmp_path / "confusion.npz")
    assert kept.images == ("image0", "image1", "image2")
    assert kept.classes == ("sky", "road")
    cells = [dict(zip(c.cells.tolist(), c.pixels.tolist(), strict=True)) for c in kept.confusions]
    assert cells == [{0: 1, 1: 1, 2: 1, 3: 3}, {2: 1, 3: 1}, {}]
    assert values(kept) == measured


# ---- several views


SCALES = (0.5, 1.0, 1.5)


def _network(path: Path) -> torch.nn.Module:
    cfg = configs.read("segment", "fcn")
    model = cfg.model
    model.backbone.update(type=timm_features.TimmFeatures, checkpoint=str(path))
    for head, channels in ((model.decode_head, 256), (model.auxiliary_head, 128)):
        head.update(in_channels=channels, channels=8, num_classes=5)
        head.norm_cfg = dict(type="BN", requires_grad=True)
    model.data_preprocessor.update(size=(32, 32), mean=[120, 110, 100], std=[60, 55, 50])
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmseg"):
        return MODELS.build(model).eval()


def test_the_views_mean_by_an_independent_loop(exchange: Callable, tmp_path: Path):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (80, 60), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(image[..., ::-1]).save(tmp_path / "a.png")
    Image.fromarray(rng.integers(0, 6, (60, 80), dtype=np.uint8)).save(tmp_path / "labels.png")
    model = _network(exchange())
    pipeline = configs.read("segment", "fcn").test_pipeline
    pipeline[1].scale = (8 * 48, 48)
    with DefaultScope.overwrite_default_scope("mmseg"):
        transform = Compose(mask_datasets.views(pipeline, SCALES))
        sample = dict(
            img_path=str(tmp_path / "a.png"),
            seg_map_path=str(tmp_path / "labels.png"),
            seg_fields=[],
            reduce_zero_label=True,
        )
        views = transform(sample)
        batch = {key: [[one] for one in value] for key, value in views.items()}
        with torch.no_grad():
            (found,) = mask_datasets.MeanOfViews(module=model).test_step(batch)
    assert len(views["inputs"]) == 2 * len(SCALES)

    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([120.0, 110, 100], [60.0, 55, 50]))
    total = torch.zeros(5, 60, 80)
    for scale in SCALES:
        short = round(48 * scale)
        resized = cv2.resize(image, (int(80 * short / 60 + 0.5), short))
        for mirrored in (False, True):
            view = resized[:, ::-1] if mirrored else resized
            # read as BGR, given as RGB
            pixels = torch.from_numpy(view[..., ::-1].copy()).permute(2, 0, 1).float()
            with torch.no_grad():
                features = model.backbone(((pixels - mean) / std)[None])
                logits = model.decode_head(features)
            logits = functional.interpolate(logits, size=view.shape[:2], mode="bilinear")
            logits = logits.flip(3) if mirrored else logits
            logits = functional.interpolate(logits, size=(60, 80), mode="bilinear")
            total += logits[0].softmax(dim=0)
    expected = total.argmax(dim=0)
    assert len(expected.unique()) > 1
    same = (found.pred_sem_seg.data[0] == expected).float().mean().item()
    assert same > 0.999, "but for ties"
    labels = np.array(Image.open(tmp_path / "labels.png")).astype(int)
    np.testing.assert_array_equal(
        found.gt_sem_seg.data[0].numpy(), np.where(labels == 0, 255, labels - 1)
    )
