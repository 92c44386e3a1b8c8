"""Patches and settings that make mmcv, mmengine, mmdet and mmseg usable.

Call `prepare()` before importing anything from mmdet or mmseg.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
import warnings
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, distribution
from types import ModuleType
from typing import Any

import mmengine.config.utils
import torch
import torchvision
from mmengine.registry import init_default_scope
from torch import Tensor

OPS = "mmcv._ext"


def prepare(scope: str | None = None) -> None:
    """Makes the stock configs and models of mmdet and mmseg usable; repeated calls are harmless.

    Args:
        scope: "mmdet" or "mmseg": the registry searched first for names without a prefix.
    """
    # PyPI's mmcv has no compiled operators; if mmcv was compiled locally, its own are used
    if OPS not in sys.modules and importlib.util.find_spec(OPS) is None:
        sys.modules[OPS] = _Operators(OPS)
    # mmengine resolves `mmseg::` configs by the name of the original distribution
    mmengine.config.utils.MODULE2PACKAGE["mmseg"] = _distribution_of_mmseg()
    for deprecated in (".*reduce_zero_label.*", "indexing with dtype torch.uint8"):
        warnings.filterwarnings("ignore", message=deprecated)
    # their imports print a line for each optional package that is missing
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        import mmdet.utils
        import mmseg.utils

        mmdet.utils.register_all_modules(init_default_scope=False)
        mmseg.utils.register_all_modules(init_default_scope=False)
    if scope is not None:
        init_default_scope(scope)


def _distribution_of_mmseg() -> str:
    for name in ("mmsegmentation", "onedl-mmsegmentation"):
        try:
            distribution(name)
            return name
        except PackageNotFoundError:
            continue
    raise ImportError("mmseg is not installed: pip install onedl-mmsegmentation")


class _Operators(ModuleType):
    """Replaces `mmcv._ext`: torchvision's operators, and a clear error for any other."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, loader=None)  # importlib refuses a module without one
        self.nms = nms
        self.roi_align_forward = roi_align_forward
        self.roi_align_backward = roi_align_backward

    def __getattr__(self, operator: str) -> Any:
        if operator.startswith("__"):
            raise AttributeError(operator)

        def unavailable(*args: Any, **kwargs: Any) -> None:
            raise RuntimeError(
                f"mmcv's operator {operator} needs a compiled mmcv; the installed one has no "
                f"compiled extension"
            )

        return unavailable


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Indices of the boxes that non-maximum suppression keeps, by descending score.

    Args:
        boxes: [N, 4] as x1, y1, x2, y2; scores: [N].
        offset: added to widths and heights: 1 if a box includes its last pixel.
    """
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torchvision.ops.nms(boxes, scores, iou_threshold)


AVERAGE = 1  # as mmcv numbers the ways to pool


def roi_align_forward(
    features: Tensor,
    regions: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fills `output` [R, C, height, width] with the average of each cell of each region.

    Args:
        features: [N, C, H, W].
        regions: [R, 5]: the index into N, and x1, y1, x2, y2.
        argmax_y, argmax_x: of max pooling, which torchvision does not have.
    """
    if pool_mode != AVERAGE:
        raise RuntimeError("RoIAlign with max pooling needs a compiled mmcv")
    size = (aligned_height, aligned_width)
    output.copy_(
        torchvision.ops.roi_align(features, regions, size, spatial_scale, sampling_ratio, aligned)
    )


def roi_align_backward(
    gradient: Tensor,
    regions: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    output: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fills `output` [N, C, H, W] with the gradient of the features; see `roi_align_forward`."""
    size = (aligned_height, aligned_width)
    output.copy_(
        torch.ops.torchvision._roi_align_backward(
            gradient, regions, spatial_scale, *size, *output.shape, sampling_ratio, aligned
        )
    )
