"""Pixel accuracy and mean IoU against counting in NumPy and mmseg; several views of a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.registry import METRICS, MODELS, DefaultScope
from mmseg.evaluation.metrics import IoUMetric
from PIL import Image
from torch.nn import functional

from core import configs
from core.metrics import segmentation
from downstream.backbones import timm_features
from downstream.segmentation import mask_datasets

Labels = list[np.ndarray]


def _samples(truths: Labels, guesses: Labels) -> list[dict]:
    return [
        dict(
            pred_sem_seg=dict(data=torch.from_numpy(guess)[None]),
            gt_sem_seg=dict(data=torch.from_numpy(truth)[None]),
            img_path=f"/somewhere/picture{i}.jpg",
        )
        for i, (truth, guess) in enumerate(zip(truths, guesses, strict=True))
    ]


def _metric(
    truths: Labels, guesses: Labels, classes: int, keep: Path | None = None
) -> dict[str, float]:
    with DefaultScope.overwrite_default_scope("mmseg"):
        settings = configs.read("segment", "fcn").test_evaluator
        metric = METRICS.build(settings | dict(keep=None if keep is None else str(keep)))
    metric.dataset_meta = dict(classes=[str(c) for c in range(classes)])
    for sample in _samples(truths, guesses):
        metric.process({}, [sample])
    return metric.evaluate(len(truths))


def _case(seed: int) -> tuple[Labels, Labels]:
    """Seven classes, of which the last never occurs, and the one before is only ever guessed."""
    rng = np.random.default_rng(seed)
    truths = [rng.integers(0, 5, (30, 40)) for _ in range(3)]
    guesses = [np.where(rng.random(t.shape) < 0.6, t, rng.integers(0, 6, t.shape)) for t in truths]
    for truth in truths:
        truth[rng.random(truth.shape) < 0.2] = 255
    return truths, guesses


def _counted(truths: Labels, guesses: Labels, classes: int) -> np.ndarray:
    counts = np.zeros((classes, classes), int)
    for truth, guess in zip(truths, guesses, strict=True):
        for t, g in zip(truth.ravel(), guess.ravel(), strict=True):
            if t != 255:
                counts[t, g] += 1
    return counts


def _by_hand(counts: np.ndarray) -> dict[str, float]:
    ious = []
    for c in range(len(counts)):
        union = counts[c].sum() + counts[:, c].sum() - counts[c, c]
        if union:
            ious.append(counts[c, c] / union)
    right = sum(counts[c, c] for c in range(len(counts)))
    return {"pix_acc": 100 * right / counts.sum(), "miou": 100 * sum(ious) / len(ious)}


@pytest.mark.parametrize("seed", range(4))
def test_pixel_accuracy_and_mean_iou(seed: int):
    truths, guesses = _case(seed)
    counts = _counted(truths, guesses, 7)
    assert ((counts.sum(0) + counts.sum(1)) > 0).tolist() == [True] * 6 + [False]
    measured = _metric(truths, guesses, 7)
    assert measured == pytest.approx(_by_hand(counts), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_mmseg_finds_the_same_but_for_its_rounding(seed: int):
    truths, guesses = _case(seed)
    theirs = IoUMetric()
    theirs.dataset_meta = dict(classes=[str(c) for c in range(7)])
    theirs.process({}, _samples(truths, guesses))
    found, ours = theirs.evaluate(3), _metric(truths, guesses, 7)
    assert ours["pix_acc"] == pytest.approx(found["aAcc"], abs=0.0051)
    assert ours["miou"] == pytest.approx(found["mIoU"], abs=0.0051)


def test_a_hand_worked_case():
    truth = np.array([[0, 0, 1, 1], [1, 1, 255, 255]])
    guess = np.array([[0, 1, 1, 1], [1, 0, 0, 1]])
    # 4 of 6 right; class 0: 1 of 3, class 1: 3 of 5
    measured = _metric([truth], [guess], 2)
    assert measured["pix_acc"] == pytest.approx(100 * 4 / 6)
    assert measured["miou"] == pytest.approx(100 * (1 / 3 + 3 / 5) / 2)


def test_pictures_of_which_nothing_is_labelled():
    nothing = np.full((4, 5), 255)
    assert _metric([nothing], [np.zeros((4, 5), int)], 3) == {"pix_acc": 0, "miou": 0}


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="labels 0 to 3 of 3 classes"):
        segmentation.count(torch.tensor([[0, 3]]), torch.zeros(1, 2), 3)


# ---- what is kept


def test_the_figures_follow_from_what_is_kept(tmp_path: Path):
    truths, guesses = _case(1)
    measured = _metric(truths, guesses, 7, keep=tmp_path / "confusion.npz")
    kept = segmentation.load(tmp_path / "confusion.npz")
    assert kept.images == ("picture0", "picture1", "picture2")
    assert kept.classes == tuple("0123456")
    assert segmentation.from_confusion(kept.total()) == measured
    for chosen in ([0], [2, 2, 1]):
        expected = sum(_counted([truths[i]], [guesses[i]], 7) for i in chosen)
        np.testing.assert_array_equal(kept.total(chosen), expected)


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
    picture = cv2.resize(coarse, (80, 60), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(picture[..., ::-1]).save(tmp_path / "a.png")
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
        resized = cv2.resize(picture, (int(80 * short / 60 + 0.5), short))
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
