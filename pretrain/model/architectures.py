"""Architectures: timm's, by name, and the narrow ResNets of the demo protocol; initialisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
from timm.models import register_model
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn

from core.errors import InputError, unknown


def _narrow(layers: tuple[int, ...], **stem: Any) -> Any:
    """A ResNet of basic blocks with half the usual channels."""
    return dict(block=BasicBlock, layers=layers, channels=(32, 64, 128, 256), **stem)


# An nn.Module with what all of timm's have beside: pretrained_cfg, feature_info, forward_features,
# forward_intermediates. Its own type says nothing of them.
TimmModel = Any
DEEP = dict(stem_width=16, stem_type="deep", avg_down=True)


def _build(arguments: dict[str, Any], **overrides: Any) -> ResNet:
    # The arguments that timm's registry hands to every constructor; there are no weights to load.
    for key in ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        overrides.pop(key, None)
    model: TimmModel = ResNet(**(arguments | overrides))
    model.pretrained_cfg = {"classifier": "fc", "first_conv": "conv1"}
    return model


@register_model
def resnet10_narrow(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-10-B, half as wide: stands in for ResNet-50-B in the demo protocol."""
    return _build(_narrow((1, 1, 1, 1)), **kwargs)


@register_model
def resnet10c_narrow(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-10-C, half as wide: stands in for ResNet-50-C in the demo protocol."""
    return _build(_narrow((1, 1, 1, 1), **DEEP | {"avg_down": False}), **kwargs)


@register_model
def resnet10d_narrow(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-10-D, half as wide: stands in for ResNet-50-D in the demo protocol."""
    return _build(_narrow((1, 1, 1, 1), **DEEP), **kwargs)


@register_model
def resnet18d_narrow(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18-D, half as wide: stands in for ResNet-152-D in the demo protocol."""
    return _build(_narrow((2, 2, 2, 2), **DEEP), **kwargs)


class FirstConvStride(Bottleneck):
    """The bottleneck of He et al., 2016: the first 1x1 convolution has the stride.

    timm's and torchvision's have it in the 3x3 convolution, which is Bag of Tricks' ResNet-B.
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
        arch: a name that timm knows.
        classes: of the classifier; 0 leaves the classifier out.
        kwargs: further arguments of the model, `output_stride` for one.

    Raises:
        InputError: timm has no such architecture (the message offers the nearest names), or it
            does not take these arguments.
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
        resolution: of the test. A transformer's position embeddings have this size, and are
            interpolated to that of the training.
        drop_path: stochastic depth (Huang et al., 2016): the probability that a block is skipped
            grows linearly from 0 at the first to this at the last (EfficientNets end before).
    """
    wanted: dict[str, Any] = dict(drop_path_rate=drop_path) if drop_path else {}
    about = timm.get_pretrained_cfg(arch) if timm.is_model(arch) else None
    if about is not None and about.fixed_input_size:
        wanted |= dict(img_size=resolution, dynamic_img_size=True)
    return create(arch, classes, **wanted)


def classifier(model: TimmModel) -> str:
    """The name that timm gives a model's classifier: "fc", "classifier", "head.fc" ...

    Raises:
        InputError: a model with none, or with several (distilled transformers have two).
    """
    name = model.pretrained_cfg.get("classifier")
    if not isinstance(name, str):
        raise InputError(f"{type(model).__name__}: its classifier is {name!r}, expected one name")
    return name


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copies tensors into a model, one for each of its own, by name and shape.

    Raises:
        InputError: a tensor is missing, left over or of another shape; all of them are named.
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
