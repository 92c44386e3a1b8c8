"""The one bridge from any checkpoint into mmdet, mmseg and the probes: strict, or it raises.

Whatever the user names becomes an exchange file first. From that file a whole timm model is built
and filled, one tensor of the file for each of the model; only then is it cut down to what a task
needs. So no task can train from weights that were loaded in part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.layers import AvgPool2dSame, convert_sync_batchnorm
from torch import Tensor, nn

from pretrain import checkpoint, distributed, models
from pretrain.checkpoint import Exchange
from pretrain.errors import InputError
from pretrain.models import TimmModel


@dataclass(frozen=True)
class Loaded:
    """A whole timm model with an exchange file's weights in it, and what the file says."""

    model: TimmModel
    about: Exchange
    sha256: str


def load(path: Path | str, **kwargs: Any) -> Loaded:
    """The model of an exchange file, every tensor accounted for.

    Args:
        kwargs: further arguments of the model; `output_stride=8` dilates the last stages.

    Raises:
        InputError: not an exchange file, or its tensors are not the architecture's; all that do
            not fit are named. Or the architecture cannot be had with these arguments.
    """
    tensors, about = checkpoint.load_exchange(Path(path))
    model = models.create(about.architecture, about.classes, **kwargs)
    try:
        models.load_strictly(model, tensors)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Loaded(model, about, checkpoint.weights_sha256(tensors))


def identity_in_dilated_shortcuts(model: TimmModel) -> None:
    """Removes the 2 x 2 average pool of stride 1 that timm puts into dilated ResNet-D shortcuts.

    mmseg and GluonCV, whose settings the papers' segmentation uses, have the identity there.
    """
    for module in model.modules():
        shortcut: Any = getattr(module, "downsample", None)
        pool = shortcut[0] if isinstance(shortcut, nn.Sequential) else None
        if isinstance(pool, AvgPool2dSame) and pool.stride in (1, (1, 1)):
            shortcut[0] = nn.Identity()


def levels(model: TimmModel) -> list[dict[str, Any]]:
    """The feature levels of a timm model, outermost first: channels, stride and module of each.

    Raises:
        InputError: an architecture without a pyramid of features.
    """
    info = getattr(model, "feature_info", None)
    if not info or not hasattr(model, "forward_intermediates"):
        raise InputError(
            f"{type(model).__name__} gives no pyramid of features: use a CNN of timm's"
        )
    return [dict(level) for level in info]


def shares_statistics() -> bool:
    """Whether trained BN takes its statistics over all devices; torch can do so on GPUs only."""
    return torch.cuda.is_available() and distributed.announced_world() > 1


@MODELS.register_module()
class TimmFeatures(BaseModule):
    """A timm backbone for mmdet and mmseg, with the weights of an exchange file.

    Args:
        checkpoint: path of the exchange file.
        out_levels: which of the feature levels come out, counted from the end: -1 is the last.
        output_stride: 8 or 16 dilate the last stages; 32 leaves them.
        frozen_stride: what the features of this stride are computed from is not trained; 4 freezes
            a ResNet's stem and layer 1, 0 nothing.
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
        stride = {} if output_stride == 32 else {"output_stride": output_stride}
        loaded = load(checkpoint, **stride)
        identity_in_dilated_shortcuts(loaded.model)
        info = levels(loaded.model)
        self.indices = [len(info) + level for level in out_levels]
        self.freeze_norm = freeze_norm
        loaded.model.prune_intermediate_layers(self.indices, prune_norm=True, prune_head=True)
        self.net: TimmModel = loaded.model
        frozen = _parameters_up_to(self.net, frozen_stride) if frozen_stride else set()
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(name not in frozen)
        if freeze_norm:
            _freeze_norms(self.net)
        elif shares_statistics():
            self.net = convert_sync_batchnorm(self.net)  # timm's: keeps activations inside norms
        self.train()

    def init_weights(self) -> None:
        """Nothing: the weights are in place. BaseModule's would call timm's and draw new ones."""

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
    """Layer 4 of a timm ResNet as the head of Faster R-CNN's regions (its C4 form).

    ResNet-D keeps its average-pool shortcut, which mmdet's own `ResLayer` does not have.

    Args:
        checkpoint: path of the exchange file.
        freeze_norm: every BN uses its running statistics, and its affine part is not trained.

    Forward: regions [R, C, 14, 14] to [R, C', 7, 7].

    Raises:
        InputError: the architecture has no `layer4`.
    """

    def __init__(self, checkpoint: str, freeze_norm: bool = False) -> None:
        super().__init__()
        loaded = load(checkpoint)
        if not hasattr(loaded.model, "layer4"):
            raise InputError(
                f"{loaded.about.architecture} has no layer4 to split off for the C4 detector: use "
                f"DETECTOR=fpn"
            )
        self.layer4: nn.Module = loaded.model.layer4
        self.freeze_norm = freeze_norm
        if freeze_norm:
            _freeze_norms(self.layer4)
        elif shares_statistics():
            self.layer4 = convert_sync_batchnorm(self.layer4)
        self.train()

    def init_weights(self) -> None:
        """Nothing: the weights are in place."""

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


def _parameters_up_to(model: TimmModel, stride: int) -> set[str]:
    """Names of the parameters that the features of a stride are computed from.

    timm registers a model's modules in the order in which they run.

    Raises:
        InputError: no level has this stride.
    """
    modules = {level["reduction"]: level["module"] for level in reversed(levels(model))}
    if stride not in modules:
        raise InputError(
            f"{type(model).__name__} has no features of stride {stride} to freeze up to; its "
            f"strides are {', '.join(map(str, sorted(modules)))} (model.backbone.frozen_stride)"
        )
    module = modules[stride]
    names = [name for name, _ in model.named_parameters()]
    last = max(i for i, name in enumerate(names) if name.startswith(f"{module}."))
    return set(names[: last + 1])


def weights_in(model: nn.Module) -> dict[str, Tensor]:
    """The backbone's tensors as they stand in a detector or segmenter, by timm's names."""
    found: dict[str, Tensor] = {}
    for module in model.modules():
        if isinstance(module, TimmFeatures):
            found |= module.net.state_dict()
        elif isinstance(module, TimmLastStage):
            found |= module.state_dict()
    return found


def unused_by_features(about: Exchange) -> list[str]:
    """Names of the tensors that no feature level needs: the classifier, and what is just before."""
    model = models.create(about.architecture, about.classes)
    whole = set(model.state_dict())
    every_level = list(range(len(levels(model))))
    model.prune_intermediate_layers(every_level, prune_norm=True, prune_head=True)
    return sorted(whole - set(model.state_dict()))


def classifier_tensors(model: TimmModel) -> list[str]:
    """Names of the tensors of a whole timm model's classifier."""
    prefix = f"{models.classifier(model)}."
    return sorted(name for name in model.state_dict() if name.startswith(prefix))


def account(model: nn.Module, path: Path) -> tuple[int, list[str]]:
    """Checks, tensor by tensor, that a detector or segmenter holds an exchange file's weights.

    Returns:
        How many of the file's tensors are in the model, and the names of those that no task uses.

    Raises:
        InputError: a tensor differs, or one that belongs into the model is not in it.
    """
    tensors, about = checkpoint.load_exchange(path)
    held = weights_in(model)
    unused = unused_by_features(about)
    wrong = [
        name
        for name in tensors
        if name not in unused
        and (name not in held or not torch.equal(held[name].cpu(), tensors[name]))
    ]
    if wrong:
        raise InputError(
            f"{path}: {len(wrong)} of the model's tensors are not its: {', '.join(wrong)}"
        )
    return len(held), unused
