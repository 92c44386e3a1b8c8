"""Loads an exchange file strictly into the backbones of mmdet and mmseg and into the probes.

Every backbone becomes an exchange file first. The whole timm model is built and filled from that
file, exactly one tensor of the file for each tensor of the model. Only then are layers removed that
the task does not need. So no task can train from partly loaded weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.layers import AvgPool2dSame, convert_sync_batchnorm
from torch import Tensor, nn

from core import exchange
from core.errors import InputError
from core.exchange import Exchange
from core.runtime import distributed
from pretrain.model import architectures
from pretrain.model.architectures import TimmModel


@dataclass(frozen=True)
class Loaded:
    """A whole timm model with an exchange file's weights, and the file's metadata."""

    model: TimmModel
    about: Exchange
    sha256: str


def load(path: Path | str, **kwargs: Any) -> Loaded:
    """The model of an exchange file, loaded strictly.

    Args:
        kwargs: further arguments of the model; `output_stride=8` dilates the last stages.

    Raises:
        InputError: not an exchange file; its tensors do not match the architecture (the message
            names each); or the architecture does not accept these arguments.
    """
    return _filled(path, *exchange.load_exchange(Path(path)), **kwargs)


def _filled(path: Path | str, tensors: dict[str, Tensor], about: Exchange, **kwargs: Any) -> Loaded:
    try:
        model = architectures.create(about.architecture, about.classes, **kwargs)
    except InputError as error:
        if "output_stride" not in kwargs:
            raise
        raise InputError(
            f"{about.architecture} cannot be dilated, as the FCN requires ({error}). ResNet, "
            f"ResNeXt, RegNet, EfficientNet, MobileNet v1 and v2 and ConvNeXt can. Use this one "
            f"with make probe, or, if its features have strides 4 to 32, make detect DETECTOR=fpn"
        ) from error
    try:
        architectures.load_strictly(model, tensors)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Loaded(model, about, exchange.weights_sha256(tensors))


def identity_in_dilated_shortcuts(model: TimmModel) -> None:
    """Removes the 2 x 2 average pool of stride 1 that timm puts into dilated ResNet-D shortcuts.

    mmseg and GluonCV, whose settings the papers' segmentation uses, have no pool there.
    """
    for module in model.modules():
        shortcut: Any = getattr(module, "downsample", None)
        pool = shortcut[0] if isinstance(shortcut, nn.Sequential) else None
        if isinstance(pool, AvgPool2dSame) and pool.stride in (1, (1, 1)):
            shortcut[0] = nn.Identity()


def levels(model: TimmModel) -> list[dict[str, Any]]:
    """The feature levels of a timm model, finest first: channels, stride and module of each.

    Raises:
        InputError: the architecture has no feature pyramid.
    """
    info = getattr(model, "feature_info", None)
    if not info or not hasattr(model, "forward_intermediates"):
        raise InputError(f"{type(model).__name__} has no feature pyramid: use one of timm's CNNs")
    return [dict(level) for level in info]


def dense(path: Path | str, output_stride: int = 32) -> Loaded:
    """The model of an exchange file for images of any size, its last four levels a pyramid.

    Args:
        output_stride: 8 or 16 dilate the last stages; 32 does not.

    Raises:
        InputError: as `load` does; or the architecture has other strides or a fixed image size.
    """
    tensors, about = exchange.load_exchange(Path(path))
    options: dict[str, Any] = {} if output_stride == 32 else {"output_stride": output_stride}
    # Swin accepts any image size with strict_img_size=False
    fixed = getattr(timm.get_pretrained_cfg(about.architecture), "fixed_input_size", False)
    if fixed and "swin" in about.architecture:
        options["strict_img_size"], fixed = False, False
    loaded = _filled(path, tensors, about, **options)
    strides = [level["reduction"] for level in levels(loaded.model)]
    wanted = [min(stride, output_stride) for stride in (4, 8, 16, 32)]
    if fixed or strides[-4:] != wanted:
        why = "takes images of one size" if fixed else f"has features of strides {strides}"
        raise InputError(
            f"{about.architecture} {why}; detectors and segmenters need strides {wanted} of "
            f"images of any size. Use a ResNet, RegNet, EfficientNet, ConvNeXt or Swin, or use "
            f"this one with make probe"
        )
    identity_in_dilated_shortcuts(loaded.model)
    return loaded


def shares_statistics() -> bool:
    """Whether to use synchronised batch norm, which torch supports on GPUs only."""
    return torch.cuda.is_available() and distributed.env_world() > 1


@MODELS.register_module()
class TimmFeatures(BaseModule):
    """A timm backbone for mmdet and mmseg, with the weights of an exchange file.

    Args:
        checkpoint: path of the exchange file.
        out_levels: indices of the feature levels to return, counted from the end: -1 is the last.
        output_stride: 8 or 16 dilate the last stages; 32 does not.
        frozen_stride: freezes every layer that the features of this stride are computed from; 4
            freezes a ResNet's stem and layer 1, 0 nothing.
        freeze_norm: every BN uses its running statistics, and its affine part is not trained.

    Forward: images [N, 3, H, W] to a tuple of features, one for each of `out_levels`.
    """

    def __init__(
        self,
        checkpoint: str,
        out_levels: Sequence[int] = (-4, -3, -2, -1),
        output_stride: int = 32,
        frozen_stride: int = 0,
        freeze_norm: bool = False,
    ) -> None:
        super().__init__()
        loaded = dense(checkpoint, output_stride)
        info = levels(loaded.model)
        self.indices = [len(info) + level for level in out_levels]
        self.output_stride = output_stride
        self.freeze_norm = freeze_norm
        loaded.model.prune_intermediate_layers(self.indices, prune_norm=True, prune_head=True)
        self.net: TimmModel = loaded.model
        deepest = self.indices[-1]
        frozen = _parameters_up_to(self.net, frozen_stride, deepest) if frozen_stride else set()
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(name not in frozen)
        if freeze_norm:
            _freeze_norms(self.net)
        elif shares_statistics():
            self.net = convert_sync_batchnorm(self.net)  # timm's keeps the norms' activations
        self.train()

    def init_weights(self) -> None:
        """Does nothing: BaseModule's would call timm's, which draws new weights."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.net.forward_intermediates(
            images, indices=self.indices, norm=False, intermediates_only=True
        )
        return tuple(features)

    def train(self, mode: bool = True) -> TimmFeatures:
        super().train(mode)
        if self.freeze_norm:
            _norms_to_eval(self.net)
        return self


@MODELS.register_module()
class TimmLastStage(BaseModule):
    """Layer 4 of a timm ResNet as the region head of Faster R-CNN C4.

    ResNet-D keeps its average-pool shortcut, which mmdet's own `ResLayer` lacks.

    Args:
        checkpoint: path of the exchange file.
        freeze_norm: every BN uses its running statistics, and its affine part is not trained.

    Forward: regions [R, C, 14, 14] to [R, C', 7, 7].

    Raises:
        InputError: the architecture's last stages are not `layer3` and `layer4`.
    """

    def __init__(self, checkpoint: str, freeze_norm: bool = False) -> None:
        super().__init__()
        loaded = load(checkpoint)
        if [level["module"] for level in levels(loaded.model)][-2:] != ["layer3", "layer4"]:
            raise InputError(
                f"{loaded.about.architecture} has no layer3 and layer4, which the C4 detector "
                f"needs: use DETECTOR=fpn"
            )
        self.layer4: nn.Module = loaded.model.layer4
        self.freeze_norm = freeze_norm
        if freeze_norm:
            _freeze_norms(self.layer4)
        elif shares_statistics():
            self.layer4 = convert_sync_batchnorm(self.layer4)
        self.train()

    def init_weights(self) -> None:
        """Does nothing: the weights are loaded."""

    def forward(self, regions: Tensor) -> Tensor:
        return self.layer4(regions)

    def train(self, mode: bool = True) -> TimmLastStage:
        super().train(mode)
        if self.freeze_norm:
            _norms_to_eval(self.layer4)
        return self


def _norm_layers(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def _freeze_norms(module: nn.Module) -> None:
    for norm in _norm_layers(module):
        for parameter in norm.parameters():
            parameter.requires_grad_(False)


def _norms_to_eval(module: nn.Module) -> None:
    for norm in _norm_layers(module):
        norm.eval()


def _parameters_up_to(model: TimmModel, stride: int, deepest: int) -> set[str]:
    """Names of the parameters that the features of a stride are computed from.

    These are the parameters that get a gradient from the features, for any architecture.

    Args:
        deepest: index of the deepest level that the model still has.

    Raises:
        InputError: no level has this stride; or the deepest level does not use all the parameters
            of that level, so freezing them would be wrong for this architecture.
    """
    strides = [level["reduction"] for level in levels(model)]
    if stride not in strides:
        raise InputError(
            f"model.backbone.frozen_stride={stride}: {type(model).__name__} has no features of "
            f"this stride; it has {', '.join(map(str, sorted(set(strides))))}"
        )
    features = model.eval().forward_intermediates(
        torch.zeros(1, 3, 128, 128),
        indices=[strides.index(stride), deepest],
        norm=False,
        intermediates_only=True,
    )
    names, parameters = zip(*model.named_parameters(), strict=True)

    def reached(feature: Tensor) -> set[str]:
        gradients = torch.autograd.grad(
            feature.sum(), parameters, retain_graph=True, allow_unused=True
        )
        return {name for name, found in zip(names, gradients, strict=True) if found is not None}

    frozen = reached(features[0])
    if not frozen <= reached(features[-1]):
        raise InputError(
            f"the last features of {type(model).__name__} are not computed from those of stride "
            f"{stride}: freeze nothing, with OPTIONS=model.backbone.frozen_stride=0"
        )
    return frozen


def classifier_tensors(model: TimmModel) -> list[str]:
    """Names of the tensors of a whole timm model's classifier."""
    prefix = f"{architectures.classifier(model)}."
    return sorted(name for name in model.state_dict() if name.startswith(prefix))
