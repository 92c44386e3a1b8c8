"""Architectures: timm's, ResNet-50 of 2016, and the narrow ResNets of the demo protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
from timm.models import register_model
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn

from core.errors import InputError, unknown

# An nn.Module with timm's further attributes (pretrained_cfg, feature_info, forward_features,
# forward_intermediates), for which timm has no type.
TimmModel = Any
DEEP_STEM = dict(stem_width=16, stem_type="deep")


def _narrow(layers: tuple[int, ...], **settings: Any) -> dict[str, Any]:
    """A ResNet of basic blocks with half the usual channels."""
    return dict(block=BasicBlock, layers=layers, channels=(32, 64, 128, 256), **settings)


def _build(arguments: dict[str, Any], **overrides: Any) -> ResNet:
    # timm's registry passes these to every constructor; there are no pretrained weights to load
    for key in ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        overrides.pop(key, None)
    model: TimmModel = ResNet(**(arguments | overrides))
    model.pretrained_cfg = {"classifier": "fc", "first_conv": "conv1"}
    return model


@register_model
def resnet10_narrow(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-10-B at half width: stands in for ResNet-50-B in the demo protocol."""
    return _build(_narrow((1, 1, 1, 1)), **kwargs)


@register_model
def resnet10c_narrow(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-10-C at half width: stands in for ResNet-50-C in the demo protocol."""
    return _build(_narrow((1, 1, 1, 1), avg_down=False, **DEEP_STEM), **kwargs)


@register_model
def resnet10d_narrow(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-10-D at half width: stands in for ResNet-50-D in the demo protocol."""
    return _build(_narrow((1, 1, 1, 1), avg_down=True, **DEEP_STEM), **kwargs)


@register_model
def resnet18d_narrow(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18-D at half width: stands in for ResNet-152-D in the demo protocol."""
    return _build(_narrow((2, 2, 2, 2), avg_down=True, **DEEP_STEM), **kwargs)


class FirstConvStride(Bottleneck):
    """The bottleneck of He et al., 2016, with the stride in the first 1x1 convolution.

    timm and torchvision have it in the 3x3 convolution: Bag of Tricks' ResNet-B.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conv1.stride, self.conv2.stride = self.conv2.stride, self.conv1.stride


@register_model
def resnet50_v1(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-50 as published in 2016: the baseline of Bag of Tricks' tables 2 to 5."""
    return _build(dict(block=FirstConvStride, layers=(3, 4, 6, 3)), **kwargs)


def create(arch: str, classes: int, **kwargs: Any) -> TimmModel:
    """A timm model without weights.

    Args:
        arch: timm's name.
        classes: the number of classes; 0 for no classifier.
        kwargs: further arguments of the model, for example `output_stride`.

    Raises:
        InputError: timm has no such architecture, or it does not accept these arguments.
    """
    if not timm.is_model(arch):
        raise unknown("architecture", arch, timm.list_models())
    try:
        return timm.create_model(arch, pretrained=False, num_classes=classes, **kwargs)
    except (TypeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"{arch} cannot be built with {kwargs}: {error}") from error


def for_training(arch: str, classes: int, resolution: int, drop_path: float) -> TimmModel:
    """A model that can be trained and tested at different resolutions.

    Args:
        resolution: at test time. A transformer's position embeddings have this size, and are
            interpolated for training.
        drop_path: stochastic depth (Huang et al., 2016): the probability of skipping a block grows
            linearly from 0 in the first to this in the last (a little less in EfficientNets).
    """
    kwargs: dict[str, Any] = dict(drop_path_rate=drop_path) if drop_path else {}
    cfg = timm.get_pretrained_cfg(arch) if timm.is_model(arch) else None
    if cfg is not None and cfg.fixed_input_size:
        kwargs |= dict(img_size=resolution, dynamic_img_size=True)
    return create(arch, classes, **kwargs)


def classifier(model: TimmModel) -> str:
    """timm's name of a model's classifier: "fc", "classifier", "head.fc", ...

    Raises:
        InputError: the model has no classifier or several (distilled transformers have two).
    """
    name = model.pretrained_cfg.get("classifier")
    if not isinstance(name, str):
        raise InputError(f"{type(model).__name__}: its classifier is {name!r}, expected one name")
    return name


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Loads tensors into a model. Names and shapes must match exactly.

    Raises:
        InputError: tensors are missing, unexpected or of another shape; names all of them.
    """
    own = model.state_dict()
    problems = [f"{name} is not in the checkpoint" for name in own if name not in tensors]
    problems += [f"{name} is not in the model" for name in tensors if name not in own]
    problems += [
        f"{name} is {list(tensors[name].shape)} in the checkpoint and {list(own[name].shape)} "
        f"in the model"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if problems:
        raise InputError(
            f"the checkpoint does not fit the model, {len(problems)} tensors: "
            + "; ".join(problems)
        )
    model.load_state_dict(dict(tensors))
