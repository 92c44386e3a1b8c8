"""mmdet's and mmseg's stock configs, and the replacement of mmcv's compiled operators."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.ops import RoIAlign, batched_nms
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config

from downstream.openmmlab import compat


@pytest.mark.parametrize(
    ("base", "model"),
    [
        ("mmdet::_base_/models/faster-rcnn_r50-caffe-c4.py", "FasterRCNN"),
        ("mmdet::_base_/models/faster-rcnn_r50_fpn.py", "FasterRCNN"),
        ("mmseg::_base_/models/fcn_r50-d8.py", "EncoderDecoder"),
    ],
)
def test_stock_configs_resolve(base: str, model: str, tmp_path: Path):
    (tmp_path / "child.py").write_text(f"_base_ = {base!r}\n")
    assert Config.fromfile(str(tmp_path / "child.py")).model.type == model


def test_preparing_twice_keeps_the_operators():
    before = sys.modules.get("mmcv._ext")
    compat.prepare()
    assert sys.modules.get("mmcv._ext") is before


def _greedy(boxes: np.ndarray, scores: np.ndarray, threshold: float, offset: int) -> list[int]:
    """Repeatedly keep the best box and drop those that overlap it by more than the threshold."""
    widths, heights = (boxes[:, 2 + k] - boxes[:, k] + offset for k in (0, 1))
    areas = widths * heights
    left, kept = list(np.argsort(-scores)), []
    while left:
        best = left.pop(0)
        kept.append(int(best))
        survivors = []
        for other in left:
            low = np.maximum(boxes[best, :2], boxes[other, :2])
            high = np.minimum(boxes[best, 2:], boxes[other, 2:])
            both = np.prod(np.maximum(high - low + offset, 0))
            if both / (areas[best] + areas[other] - both) <= threshold:
                survivors.append(other)
        left = survivors
    return kept


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_nms_is_the_greedy_one(offset: int, threshold: float):
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 12, (200, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(8, 20, (200, 2))], axis=1)
    boxes = boxes.astype(np.float32)
    scores = rng.permutation(200).astype(np.float32) / 200
    kept = compat.nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold, offset)
    expected = _greedy(boxes.astype(np.float64), scores, threshold, offset)
    assert kept.tolist() == expected
    assert 2 < len(expected) < 150, "the case suppresses something, and not everything"


def test_the_offset_decides_between_two_boxes():
    # 10 x 10 pixels on 10 x 5: with the last pixel 50 / 100, without it 9 * 4 / 81 = 0.444
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 4]])
    scores = torch.tensor([0.9, 0.8])
    assert compat.nms(boxes, scores, 0.47, 1).tolist() == [0]
    assert compat.nms(boxes, scores, 0.47, 0).tolist() == [0, 1]


def test_mmcv_calls_the_nms():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 8], [20, 20, 30, 30]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    classes = torch.tensor([0, 0, 1, 0])
    found, kept = batched_nms(boxes, scores, classes, dict(type="nms", iou_threshold=0.5))
    assert kept.tolist() == [0, 2, 3], "the third box is of another class"
    torch.testing.assert_close(found[:, 4], scores[kept])


def test_other_operators_say_what_they_need():
    operators = compat._Operators("mmcv._ext")
    with pytest.raises(RuntimeError, match="deform_conv_forward needs a compiled mmcv"):
        operators.deform_conv_forward(torch.ones(1), kernel=3)
    assert not hasattr(operators, "__wrapped__"), "Python's own lookups are not answered"


def test_importlib_accepts_the_stand_in(monkeypatch: pytest.MonkeyPatch):
    operators = compat._Operators("mmcv._ext")
    monkeypatch.setitem(sys.modules, "mmcv._ext", operators)
    spec = importlib.util.find_spec("mmcv._ext")
    assert spec is not None
    assert spec.name == "mmcv._ext"


def test_a_compiled_extension_is_not_replaced(monkeypatch: pytest.MonkeyPatch):
    compiled = type(sys)("mmcv._ext")
    monkeypatch.setitem(sys.modules, "mmcv._ext", compiled)
    compat.prepare()
    assert sys.modules["mmcv._ext"] is compiled


@pytest.mark.parametrize("use_torchvision", [True, False])
def test_roi_align_on_a_ramp(use_torchvision: bool):
    # bilinear samples of f(x, y) = x + 10 y are the coordinates themselves; in the aligned form a
    # bin's mean is that at its centre, half a pixel up and to the left
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(24.0), indexing="ij")
    align = RoIAlign(output_size=(2, 4), spatial_scale=0.5, use_torchvision=use_torchvision)
    found = align((x + 10 * y)[None, None], torch.tensor([[0.0, 8, 4, 40, 20]]))
    columns = 8 / 2 - 0.5 + (np.arange(4) + 0.5) * (40 - 8) / 2 / 4
    rows = 4 / 2 - 0.5 + (np.arange(2) + 0.5) * (20 - 4) / 2 / 2
    expected = columns[None, :] + 10 * rows[:, None]
    np.testing.assert_allclose(found[0, 0].numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_the_gradient_of_roi_align(sampling_ratio: int, aligned: bool):
    features = torch.rand(2, 3, 9, 11, dtype=torch.float64, requires_grad=True)
    regions = torch.tensor(
        [[1, 2.0, 3.0, 17.0, 13.5], [0, 0.0, 0.0, 21.0, 17.0]], dtype=torch.float64
    )
    align = RoIAlign((3, 2), 0.5, sampling_ratio, aligned=aligned)
    assert torch.autograd.gradcheck(lambda it: align(it, regions), features)


def test_max_pooling_says_what_it_needs():
    align = RoIAlign((2, 2), pool_mode="max")
    with pytest.raises(RuntimeError, match="max pooling needs a compiled mmcv"):
        align(torch.rand(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 3, 3]]))


def test_mmdet_crops_masks_to_regions():
    mask = np.zeros((1, 12, 12), np.uint8)
    mask[0, 4:8, 2:10] = 1
    # cells of 2 x 2 pixels, of which each is within the mask or outside
    found = BitmapMasks(mask, 12, 12).crop_and_resize(
        np.array([[0.0, 2, 8, 10]], np.float32), (4, 4), np.array([0])
    )
    expected = [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
    assert found.masks[0].astype(int).tolist() == expected
