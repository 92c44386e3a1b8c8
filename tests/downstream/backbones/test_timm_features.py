"""Features against timm's and mmseg's, and frozen layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import timm
import torch
from mmengine.model import BaseModule
from mmseg.models.backbones import ResNetV1d
from torch import nn

from core.errors import InputError
from downstream.backbones.timm_features import TimmFeatures, TimmLastStage

ARCHITECTURES = (
    *("resnet18d", "resnet50", "resnext50_32x4d", "seresnet18", "regnety_002", "regnety_004"),
    *("efficientnet_b0", "mobilenetv1_100", "convnext_atto"),
)


def _images(size: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(seed))


def _largest_difference(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    assert [f.shape for f in found] == [e.shape for e in expected]
    return max((f - e).abs().max().item() for f, e in zip(found, expected, strict=True))


def _unchanged(module: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    after = module.state_dict()
    return all(torch.equal(after[name], before[name]) for name in before)


def _copy(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("arch", ARCHITECTURES)
@torch.no_grad()
def test_features_are_those_of_timms_pyramid(arch: str, exchange: Callable, raw: Callable):
    path = exchange(arch)
    tensors, _ = raw(path)
    peer = timm.create_model(arch, features_only=True)
    levels = range(len(peer.feature_info))[-4:]
    peer = timm.create_model(arch, features_only=True, out_indices=tuple(levels)).eval()
    # timm flattens convnext's outermost names for its pyramid: stages.0 becomes stages_0
    names = {name: re.sub(r"^(stem|stages)_(\d)", r"\1.\2", name) for name in peer.state_dict()}
    peer.load_state_dict({name: tensors[whole] for name, whole in names.items()})
    found = TimmFeatures(str(path)).eval()(_images())
    expected = peer(_images())
    assert _largest_difference(found, expected) <= 1e-6
    assert min(e.std().item() for e in expected) > 1e-4, "the features are not degenerate"


def test_levels_are_counted_from_the_end(exchange: Callable):
    path = str(exchange("resnet18d"))
    with torch.no_grad():
        every = TimmFeatures(path).eval()(_images())
        some = TimmFeatures(path, out_levels=(-3, -1)).eval()(_images())
    assert [f.shape[1:] for f in every] == [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]
    assert _largest_difference(some, [every[1], every[3]]) == 0


def test_layers_behind_the_last_level_are_left_out(exchange: Callable):
    features = TimmFeatures(str(exchange("resnet18d")), out_levels=(-2,))
    children = {name.split(".")[0] for name in features.net.state_dict()}
    assert children == {"conv1", "bn1", "layer1", "layer2", "layer3"}


@pytest.mark.parametrize("arch", ["resnet18d", "resnet50"])
@torch.no_grad()
def test_c4_is_the_whole_network_cut_in_two(arch: str, exchange: Callable, raw: Callable):
    path = exchange(arch)
    whole = timm.create_model(arch, num_classes=3).eval()
    whole.load_state_dict(raw(path)[0])
    (features,) = TimmFeatures(str(path), out_levels=(-2,)).eval()(_images())
    last = TimmLastStage(str(path)).eval()(features)
    expected = whole.forward_features(_images())
    assert _largest_difference([last], [expected]) <= 1e-6
    pooled = whole.forward_head(expected, pre_logits=True)
    torch.testing.assert_close(last.mean(dim=(2, 3)), pooled, rtol=1e-5, atol=1e-6)


MMSEG_STEM = {
    "conv1.0": "stem.0",
    "conv1.1": "stem.1",
    "conv1.3": "stem.3",
    "conv1.4": "stem.4",
    "conv1.6": "stem.6",
    "bn1": "stem.7",
}


def _as_mmseg_names_it(name: str) -> str:
    module, _, parameter = name.rpartition(".")
    return f"{MMSEG_STEM.get(module, module)}.{parameter}"


@torch.no_grad()
def test_dilated_features_are_mmsegs(exchange: Callable, raw: Callable):
    # mmseg has this network too: ResNet-50-D with stages 3 and 4 at stride 8. Bottlenecks only:
    # its basic blocks dilate only their first convolution, timm's both.
    path = exchange("resnet50d")
    mmseg = ResNetV1d(
        depth=50, dilations=(1, 1, 2, 4), strides=(1, 2, 1, 1), contract_dilation=True
    )
    mmseg.eval()
    tensors, _ = raw(path)
    body = {_as_mmseg_names_it(k): v for k, v in tensors.items() if not k.startswith("fc.")}
    mmseg.load_state_dict(body, strict=True)
    found = TimmFeatures(str(path), output_stride=8).eval()(_images(96))
    expected = mmseg(_images(96))
    assert [tuple(f.shape[1:]) for f in found] == [
        (256, 24, 24),
        (512, 12, 12),
        (1024, 12, 12),
        (2048, 12, 12),
    ]
    assert _largest_difference(found, expected) < 1e-5
    undilated = TimmFeatures(str(path)).eval()(_images(96))
    assert undilated[3].shape[2:] == (3, 3)
    assert _largest_difference(found[:2], undilated[:2]) == 0


@torch.no_grad()
def test_timms_own_dilated_shortcut_is_another(exchange: Callable, raw: Callable):
    # the reason for the changed shortcuts: with timm's stride-1 pools the features differ
    path = exchange("resnet50d")
    timms = timm.create_model("resnet50d", num_classes=3, output_stride=8).eval()
    timms.load_state_dict(raw(path)[0])
    ours = TimmFeatures(str(path), output_stride=8, out_levels=(-1,)).eval()
    difference = (ours(_images())[0] - timms.forward_features(_images())).abs().max()
    assert difference > 1e-2


@pytest.mark.parametrize("arch", ["resnet10d_narrow", "efficientnet_b0", "convnext_atto"])
def test_output_stride_8(arch: str, exchange: Callable):
    with torch.no_grad():
        found = TimmFeatures(str(exchange(arch)), output_stride=8).eval()(_images(64))
    assert [64 // f.shape[-1] for f in found] == [4, 8, 8, 8]


# ---- freezing

STEM_AND_LAYER_1 = {
    "resnet10d_narrow": [
        *("conv1.0.weight", "conv1.1.weight", "conv1.1.bias", "conv1.3.weight", "conv1.4.weight"),
        *("conv1.4.bias", "conv1.6.weight", "bn1.weight", "bn1.bias"),
        *("layer1.0.conv1.weight", "layer1.0.bn1.weight", "layer1.0.bn1.bias"),
        *("layer1.0.conv2.weight", "layer1.0.bn2.weight", "layer1.0.bn2.bias"),
    ],
    "resnet10_narrow": [
        *("conv1.weight", "bn1.weight", "bn1.bias"),
        *("layer1.0.conv1.weight", "layer1.0.bn1.weight", "layer1.0.bn1.bias"),
        *("layer1.0.conv2.weight", "layer1.0.bn2.weight", "layer1.0.bn2.bias"),
        # half of 64 channels after the stem, 32 in the layer: a shortcut of its own
        *("layer1.0.downsample.0.weight", "layer1.0.downsample.1.weight"),
        "layer1.0.downsample.1.bias",
    ],
}


@pytest.mark.parametrize("arch", STEM_AND_LAYER_1)
def test_stride_4_freezes_stem_and_layer_1(arch: str, exchange: Callable):
    features = TimmFeatures(str(exchange(arch)), frozen_stride=4)
    frozen = [n for n, p in features.net.named_parameters() if not p.requires_grad]
    assert sorted(frozen) == sorted(STEM_AND_LAYER_1[arch])


def test_nothing_is_frozen_unless_asked(exchange: Callable):
    for module in (TimmFeatures(str(exchange())), TimmLastStage(str(exchange()))):
        assert all(p.requires_grad for p in module.parameters())


def _norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize("part", [TimmFeatures, TimmLastStage])
def test_frozen_norms_stay_as_they_are(part: type, exchange: Callable):
    module = part(str(exchange()), freeze_norm=True)
    before = _copy(module)
    images = _images() if part is TimmFeatures else torch.randn(2, 128, 14, 14)
    parent = nn.Sequential(module)
    for mode in (True, False, True):
        parent.train(mode)
        assert _norms(module)
        assert not any(norm.training for norm in _norms(module))
    assert module.training, "only the norms are set to evaluation"
    out = module(images)
    (out[-1] if isinstance(out, tuple) else out).sum().backward()
    assert _unchanged(module, before)
    for norm in _norms(module):
        assert not norm.weight.requires_grad
        assert not norm.bias.requires_grad
        assert norm.weight.grad is None
    convolutions = [m.weight for m in module.modules() if isinstance(m, nn.Conv2d)]
    assert all(weight.grad is not None for weight in convolutions)


def test_free_norms_learn(exchange: Callable):
    module = TimmFeatures(str(exchange()))
    before = module.net.bn1.running_mean.clone()
    module(_images())
    assert not torch.equal(module.net.bn1.running_mean, before)
    module.eval()
    before = _copy(module)
    module(_images())
    assert _unchanged(module, before)


class _Parent(BaseModule):
    """As a detector holds its backbone: a child whose `init_weights` it calls."""

    def __init__(self, part: BaseModule) -> None:
        fill = dict(type="Constant", val=7.0, override=dict(name="own"))
        super().__init__(init_cfg=fill)
        self.part = part
        self.own = nn.Conv2d(1, 1, 1)


@pytest.mark.parametrize("part", [TimmFeatures, TimmLastStage])
@pytest.mark.parametrize("through_parent", [False, True])
def test_init_weights_leaves_the_weights(part: type, through_parent: bool, exchange: Callable):
    module = part(str(exchange()))
    before = _copy(module)
    if through_parent:
        parent = _Parent(module)
        parent.init_weights()
        assert (parent.own.weight == 7).all(), "the parent did initialise what is its own"
    else:
        module.init_weights()
    assert _unchanged(module, before)


def test_a_stride_that_no_level_has(exchange: Callable):
    with pytest.raises(
        InputError, match=r"stride=2: .* no features of this stride; it has 4, 8, 16, 32"
    ):
        TimmFeatures(str(exchange("convnext_atto")), frozen_stride=2)


def test_the_file_is_only_read(exchange: Callable):
    path: Path = exchange()
    content = path.read_bytes()
    TimmFeatures(str(path))(_images())
    assert path.read_bytes() == content
