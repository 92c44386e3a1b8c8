"""Architectures other than ResNet in mmdet's and mmseg's models, and clear refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from torch import nn

from core import configs
from core.errors import InputError
from downstream.backbones import checks, timm_features
from downstream.backbones.timm_features import TimmFeatures
from downstream.detection import faster_rcnn
from downstream.segmentation import fcn

# what the features of stride 4 are computed from, according to timm's forward_features
STRIDE_4 = {
    "resnet18d": ("conv1.", "bn1.", "layer1."),
    "seresnet18": ("conv1.", "bn1.", "layer1."),
    "resnext50_32x4d": ("conv1.", "bn1.", "layer1."),
    "regnety_004": ("stem.", "s1."),
    "efficientnet_b0": ("conv_stem.", "bn1.", "blocks.0.", "blocks.1."),
    "mobilenetv1_100": ("conv_stem.", "bn1.", "blocks.0.", "blocks.1."),
    "convnext_atto": ("stem.", "stages.0."),
}
CHANNELS = {
    "resnet18d": [64, 128, 256, 512],
    "seresnet18": [64, 128, 256, 512],
    "resnext50_32x4d": [256, 512, 1024, 2048],
    "regnety_004": [48, 104, 208, 440],
    "efficientnet_b0": [24, 40, 112, 320],
    "mobilenetv1_100": [128, 256, 512, 1024],
    "convnext_atto": [40, 80, 160, 320],
}
SIZE = 96


def _images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 256, (3, SIZE, SIZE), generator=generator).byte() for _ in range(2)]


@pytest.fixture
def detector(make_run: Callable, data_root: Path, tiny_protocol: Config) -> Callable[..., Any]:
    def build(path: Path, name: str) -> Any:
        run = make_run("detect", path, "demo", data_root, detector=name)
        with DefaultScope.overwrite_default_scope("mmdet"):
            return MODELS.build(faster_rcnn.build_config(run, configs.config("demo/voc")).model)

    return build


@pytest.fixture
def segmenter(make_run: Callable, data_root: Path, tiny_protocol: Config) -> Callable[..., Any]:
    def build(path: Path) -> Any:
        run = make_run("segment", path, "demo", data_root)
        with DefaultScope.overwrite_default_scope("mmseg"):
            return MODELS.build(fcn.build_config(run, configs.config("demo/ade20k")).model)

    return build


def _boxes() -> DetDataSample:
    instances = InstanceData(
        bboxes=torch.tensor([[8.0, 10.0, 60.0, 70.0], [50.0, 40.0, 90.0, 88.0]]),
        labels=torch.tensor([0, 1]),
    )
    size = dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE), scale_factor=(1.0, 1.0))
    return DetDataSample(metainfo=size, gt_instances=instances)


def _labels() -> SegDataSample:
    labels = torch.arange(SIZE * SIZE).reshape(1, SIZE, SIZE) // 200 % 4
    sample = SegDataSample(metainfo=dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE)))
    sample.gt_sem_seg = PixelData(data=labels)
    return sample


def _step(model: Any, samples: list[Any]) -> dict[str, bool]:
    """Takes one training step; tells which of the backbone's tensors had a nonzero gradient."""
    model.train()
    optimiser = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=1e-4)
    batch = model.data_preprocessor(dict(inputs=_images(), data_samples=samples), True)
    loss, _ = model.parse_losses(model(**batch, mode="loss"))
    loss.backward()
    assert loss.isfinite()
    optimiser.step()
    named = model.backbone.net.named_parameters()
    return {name: p.grad is not None and bool(p.grad.abs().max() > 0) for name, p in named}


def _affine_of_norms(net: nn.Module) -> set[str]:
    return {
        f"{name}.{part}"
        for name, module in net.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for part in ("weight", "bias")
    }


@pytest.mark.parametrize("arch", STRIDE_4)
def test_faster_rcnn_with_a_pyramid(arch: str, exchange: Callable, detector: Callable):
    path = exchange(arch)
    model = detector(path, "fpn")
    assert [side.conv.in_channels for side in model.neck.lateral_convs] == CHANNELS[arch]
    assert checks.feature_difference(model, path) <= 1e-5
    with torch.no_grad():
        features = model.backbone(torch.zeros(1, 3, SIZE, SIZE))
    assert [tuple(f.shape[1:]) for f in features] == [
        (c, SIZE // s, SIZE // s) for c, s in zip(CHANNELS[arch], (4, 8, 16, 32), strict=True)
    ]
    moved = _step(model, [_boxes(), _boxes()])
    fixed = {name for name in moved if name.startswith(STRIDE_4[arch])}
    fixed |= _affine_of_norms(model.backbone.net)
    assert {name for name, had_gradient in moved.items() if not had_gradient} == fixed


@pytest.mark.parametrize("arch", STRIDE_4)
def test_dilated_fcn(arch: str, exchange: Callable, segmenter: Callable):
    path = exchange(arch)
    model = segmenter(path)
    assert checks.feature_difference(model, path) <= 1e-5
    with torch.no_grad():
        features = model.backbone(torch.zeros(1, 3, SIZE, SIZE))
    assert [tuple(f.shape[1:]) for f in features] == [
        (c, SIZE // s, SIZE // s) for c, s in zip(CHANNELS[arch], (4, 8, 8, 8), strict=True)
    ]
    moved = _step(model, [_labels(), _labels()])
    assert [name for name, had_gradient in moved.items() if not had_gradient] == []


@pytest.mark.parametrize("arch", ["resnet18d", "resnet50", "resnext50_32x4d", "mobilenetv1_100"])
@torch.no_grad()
def test_dilation_computes_the_same_network_on_a_finer_grid(arch: str, exchange: Callable):
    # Holes in the kernels for steps over the image (Holschneider et al., 1989): every second or
    # fourth cell of the dilated features is a cell of the undilated ones. Not so where a cell sees
    # the mean over all cells (squeeze and excitation), nor in ConvNeXt, whose dilated 2x2
    # convolutions timm centres differently.
    path = exchange(arch)
    dilated = TimmFeatures(str(path), output_stride=8).eval()
    plain = TimmFeatures(str(path)).eval()
    if arch == "resnet18d":  # the identity, where the undilated shortcut averages
        for layer in (plain.net.layer3, plain.net.layer4):
            layer[0].downsample[0] = nn.AvgPool2d(1, stride=2)
    images = torch.randn(1, 3, 128, 96, generator=torch.Generator().manual_seed(2))
    for step, fine, coarse in zip((1, 1, 2, 4), dilated(images), plain(images), strict=True):
        scale = coarse.abs().max().item()
        assert (fine[:, :, ::step, ::step] - coarse).abs().max().item() <= 1e-5 * scale


# ---- beyond convolutions


def test_windows_go_over_images_of_any_size(exchange: Callable):
    path = exchange("swin_tiny_patch4_window7_224")
    features = TimmFeatures(str(path), frozen_stride=4, freeze_norm=True)
    with torch.no_grad():
        found = features(torch.zeros(1, 3, 96, 160))
    assert [tuple(f.shape[1:]) for f in found] == [
        *((96, 24, 40), (192, 12, 20), (384, 6, 10), (768, 3, 5))
    ]
    assert checks.feature_difference(features, path) <= 1e-5
    frozen = {name for name, p in features.net.named_parameters() if not p.requires_grad}
    prefixes = ("patch_embed.", "layers.0.")
    assert frozen == {n for n, _ in features.net.named_parameters() if n.startswith(prefixes)}


def test_layer_norms_are_trained_where_batch_norms_are_frozen(exchange: Callable):
    features = TimmFeatures(str(exchange("convnext_atto")), freeze_norm=True)
    assert all(parameter.requires_grad for parameter in features.parameters())


@pytest.mark.parametrize("arch", ["vit_tiny_patch16_224", "maxvit_pico_rw_256"])
def test_architectures_of_one_size_are_for_the_probe(arch: str, exchange: Callable):
    with pytest.raises(
        InputError, match=rf"{arch} takes images of one size; .*this one with make probe"
    ):
        TimmFeatures(str(exchange(arch)))


@pytest.mark.parametrize("strides", [[16] * 12, [2, 4, 8, 16], [8, 16, 32]])
def test_other_strides_are_for_the_probe(
    strides: list[int], exchange: Callable, monkeypatch: pytest.MonkeyPatch
):
    path = exchange()
    info = [dict(reduction=stride, num_chs=8, module=f"layer{stride}") for stride in strides]
    monkeypatch.setattr(timm_features, "levels", lambda model: info)
    with pytest.raises(
        InputError, match=r"strides \[.*; .* need strides \[4, 8, 16, 32\].*make probe"
    ):
        TimmFeatures(str(path), out_levels=(-2,))


@pytest.mark.parametrize(
    "arch", ["legacy_seresnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050"]
)
def test_without_dilation_other_architectures_and_tasks_are_named(
    arch: str, exchange: Callable, segmenter: Callable
):
    with pytest.raises(
        InputError, match=rf"{arch} cannot be dilated.*EfficientNet.*make probe.*DETECTOR=fpn"
    ):
        segmenter(exchange(arch))


@pytest.mark.parametrize("arch", ["regnety_002", "convnext_atto", "efficientnet_b0"])
def test_c4_without_a_layer_4_names_the_pyramid(arch: str, exchange: Callable, detector: Callable):
    with pytest.raises(InputError, match=rf"{arch} has no layer3 and layer4,? .*DETECTOR=fpn"):
        detector(exchange(arch), "c4")


@pytest.mark.parametrize("arch", ["seresnet18", "legacy_seresnet18"])
def test_c4_takes_what_is_built_like_a_resnet(arch: str, exchange: Callable, detector: Callable):
    path = exchange(arch)
    model = detector(path, "c4")
    assert checks.feature_difference(model, path) <= 1e-5
    moved = _step(model, [_boxes(), _boxes()])
    assert moved["layer3.1.conv2.weight"]
    last = model.roi_head.shared_head.layer4[1].conv2.weight
    assert last.grad is not None
    assert last.grad.abs().max() > 0


def test_levels_that_do_not_build_on_each_other_cannot_be_frozen(exchange: Callable):
    # each of HRNet's levels is computed from all of its stages
    path = exchange("hrnet_w18_small")
    with pytest.raises(
        InputError, match=r"are not computed from those of stride 4.*frozen_stride=0"
    ):
        TimmFeatures(str(path), frozen_stride=4)
    assert checks.feature_difference(TimmFeatures(str(path)), path) <= 1e-5


def test_a_level_without_parameters_can_be_frozen_up_to(exchange: Callable):
    # the level of stride 2 is named by its activation
    features = TimmFeatures(str(exchange("resnet18d")), frozen_stride=2)
    frozen = {name for name, p in features.net.named_parameters() if not p.requires_grad}
    assert frozen == {
        n for n, _ in features.net.named_parameters() if n.startswith(("conv1.", "bn1."))
    }
