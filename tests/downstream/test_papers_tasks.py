"""The detectors and the segmenter that the paper's configs build: every value of its protocol."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope
from torch import nn

from core import configs
from downstream.backbones import timm_features
from downstream.detection import faster_rcnn
from downstream.openmmlab import runner
from downstream.segmentation import fcn
from downstream.task import DownstreamRun

EMPTY = Config()  # of a protocol that changes nothing: the papers' sizes


def _read(folder: str, name: str) -> Config:
    return runner.read_config(folder, name, {}, 1)


def _transform(pipeline: list, kind: str) -> ConfigDict:
    (found,) = (t for t in pipeline if t.type == kind)
    return found


# ---- the paper's protocol


@pytest.fixture
def paper_run(
    exchange: Callable, make_run: Callable, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., DownstreamRun]:
    monkeypatch.setattr(configs, "read_protocol", lambda name: EMPTY)
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    def make(
        stage: str, arch: str = "resnet10d_narrow", detector: str | None = None, **about: Any
    ) -> DownstreamRun:
        return make_run(stage, exchange(arch, **about), data=data_root, detector=detector)

    return make


def _detector(run: DownstreamRun) -> tuple[Config, nn.Module]:
    with DefaultScope.overwrite_default_scope("mmdet"):
        cfg = faster_rcnn.build_config(run, configs.config("demo/voc"))
        return cfg, MODELS.build(cfg.model)


def _segmenter(run: DownstreamRun) -> tuple[Config, nn.Module]:
    with DefaultScope.overwrite_default_scope("mmseg"):
        cfg = fcn.build_config(run, configs.config("demo/ade20k"))
        return cfg, MODELS.build(cfg.model)


def test_the_papers_detectors_backbone(paper_run: Callable):
    _, model = _detector(paper_run("detect", "resnet50d"))
    # C4: layers 1-3 are the features, layer 4 the head
    assert sorted({n.split(".")[0] for n, _ in model.backbone.net.named_parameters()}) == [
        *("bn1", "conv1", "layer1", "layer2", "layer3"),
    ]
    assert [n for n, _ in model.roi_head.shared_head.named_children()] == ["layer4"]
    frozen = {
        n.split(".")[0] for n, p in model.backbone.net.named_parameters() if not p.requires_grad
    }
    convolutions = {
        n.split(".")[0]
        for n, m in model.backbone.net.named_modules()
        if isinstance(m, nn.Conv2d) and not m.weight.requires_grad
    }
    assert convolutions == {"conv1", "layer1"}
    assert frozen == {"conv1", "bn1", "layer1", "layer2", "layer3"}, (
        "and the norms of the other layers"
    )
    model.train()
    for part in (model.backbone, model.roi_head.shared_head):
        norms = [m for m in part.modules() if isinstance(m, nn.BatchNorm2d)]
        assert norms
        assert not any(m.training or m.weight.requires_grad for m in norms)


def test_the_papers_proposals_regions_and_data(paper_run: Callable):
    cfg, model = _detector(paper_run("detect", "resnet50d"))
    # region proposals: 1024 channels, 15 anchors per position, stride 16
    assert model.rpn_head.rpn_conv.in_channels == 1024
    assert model.rpn_head.rpn_conv.out_channels == 1024
    assert model.rpn_head.rpn_conv.kernel_size == (3, 3)
    assert model.rpn_head.rpn_cls.out_channels == 15
    assert model.rpn_head.prior_generator.strides == [(16, 16)]
    expected = {
        (round(16 * scale / math.sqrt(ratio), 2), round(16 * scale * math.sqrt(ratio), 2))
        for scale in (2, 4, 8, 16, 32)
        for ratio in (0.5, 1, 2)  # height by width
    }
    anchors = model.rpn_head.prior_generator.base_anchors[0].double().numpy()
    sides = anchors[:, 2:] - anchors[:, :2]
    assert {(round(w, 2), round(h, 2)) for w, h in sides} == expected
    np.testing.assert_allclose(anchors[:, :2], -anchors[:, 2:], atol=1e-4)
    training = model.train_cfg.rpn_proposal
    assert (training.nms_pre, training.max_per_img) == (12_000, 2_000)
    testing = model.rpn_head.test_cfg
    assert (testing.nms_pre, testing.max_per_img) == (6_000, 300)
    # regions
    assert model.roi_head.bbox_sampler.num == 128
    assert model.roi_head.bbox_sampler.pos_fraction == 0.25
    assert model.roi_head.test_cfg.nms.iou_threshold == 0.3
    (align,) = model.roi_head.bbox_roi_extractor.roi_layers
    assert (align.output_size, align.spatial_scale) == ((14, 14), 1 / 16)
    assert align.use_torchvision
    assert model.roi_head.bbox_head.fc_cls.in_features == 2048
    assert model.roi_head.bbox_head.fc_cls.out_features == 21
    # data: shorter side 600, longer at most 1000; flips; RGB
    assert _transform(cfg.train_pipeline, "Resize").scale == (1000, 600)
    assert _transform(cfg.train_pipeline, "Resize").keep_ratio
    assert _transform(cfg.train_pipeline, "RandomFlip").prob == 0.5
    assert [t.type for t in cfg.train_pipeline] == [
        *("LoadImageFromFile", "LoadAnnotations", "Resize", "RandomFlip", "PackDetInputs")
    ]
    assert cfg.model.data_preprocessor.bgr_to_rgb
    kinds = [t.type for t in cfg.test_pipeline]
    assert kinds.index("LoadAnnotations") > kinds.index("Resize")


def _schedulers(cfg: Config, optimizer: torch.optim.Optimizer) -> list:
    with DefaultScope.overwrite_default_scope("mmdet"):
        return [PARAM_SCHEDULERS.build(s | dict(optimizer=optimizer)) for s in cfg.param_scheduler]


def test_the_papers_detection_schedule():
    cfg = _read("detect", "c4")
    assert cfg.train_cfg.max_epochs == 20
    settings = cfg.optim_wrapper.optimizer
    assert settings == dict(type="SGD", lr=0.001, momentum=0.9, weight_decay=5e-4)
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=settings.lr)
    warmup, steps = _schedulers(cfg, optimizer)
    lr = [optimizer.param_groups[0]["lr"]]
    for _ in range(600):
        optimizer.step()
        warmup.step()
        lr.append(optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(lr[0], 1e-6)
    np.testing.assert_allclose(np.diff(lr[:500]), np.diff(lr[:500])[0], rtol=1e-6, atol=1e-15)
    np.testing.assert_allclose(lr[499:], 0.001)
    by_epoch = []
    for _ in range(20):
        by_epoch.append(optimizer.param_groups[0]["lr"])
        steps.step()
    np.testing.assert_allclose(by_epoch, [0.001] * 14 + [0.0001] * 6)


def test_the_papers_segmenter(paper_run: Callable):
    cfg, model = _segmenter(paper_run("segment", "resnet50d"))
    with torch.no_grad():
        features = model.backbone.eval()(torch.zeros(1, 3, 480, 480))
    assert [tuple(f.shape[1:]) for f in features] == [
        *((256, 120, 120), (512, 60, 60), (1024, 60, 60), (2048, 60, 60)),
    ]
    for head, channels in ((model.decode_head, 2048), (model.auxiliary_head, 1024)):
        assert head.in_channels == channels
        (block,) = head.convs
        assert block.conv.kernel_size == (3, 3)
        assert (block.conv.in_channels, block.conv.out_channels) == (channels, channels // 4)
        assert isinstance(block.bn, nn.BatchNorm2d)
        assert isinstance(block.activate, nn.ReLU)
        assert head.dropout.p == 0.1
        assert head.conv_seg.kernel_size == (1, 1)
        assert head.conv_seg.out_channels == 150
        assert not head.concat_input
        assert head.loss_decode.avg_non_ignore
    assert model.auxiliary_head.in_index == 2
    assert model.decode_head.in_index == 3
    assert model.decode_head.loss_decode.loss_weight == 1.0
    assert model.auxiliary_head.loss_decode.loss_weight == 0.5
    assert all(p.requires_grad for p in model.parameters())
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    lr = {id(p): g["lr"] for g in wrapper.optimizer.param_groups for p in g["params"]}
    for name, parameter in model.named_parameters():
        expected = 0.01 if name.startswith("backbone.") else 0.1
        assert lr[id(parameter)] == pytest.approx(expected), name
    for group in wrapper.optimizer.param_groups:
        assert (group["momentum"], group["weight_decay"]) == (0.9, 1e-4)
    assert _transform(cfg.train_pipeline, "RandomCrop").crop_size == (480, 480)
    resize = _transform(cfg.train_pipeline, "RandomResize")
    assert min(resize.scale) == 520
    assert resize.ratio_range == (0.5, 2.0)
    assert max(resize.scale) * 0.5 >= 8 * 260, "the longer side sets no limit"
    assert min(_transform(cfg.test_pipeline, "Resize").scale) == 520
    assert _transform(cfg.train_pipeline, "RandomFlip").prob == 0.5
    assert _transform(cfg.train_pipeline, "RandomBlur").prob == 0.5
    assert model.data_preprocessor.size == (480, 480)


def test_the_papers_segmentation_schedule():
    cfg = _read("segment", "fcn")
    assert cfg.train_cfg.max_epochs == 120
    (settings,) = cfg.param_scheduler
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.01)
    kind = PARAM_SCHEDULERS.get(settings.type)
    values = {k: v for k, v in settings.items() if k not in ("type", "convert_to_iter_based")}
    assert settings.convert_to_iter_based
    schedule = kind.build_iter_from_epoch(optimizer=optimizer, epoch_length=3, **values)
    found = []
    for _ in range(360):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    # mmengine reaches the end at the last step, so T is the number of steps minus 1
    expected = 0.01 * (1 - np.arange(360) / 359) ** 0.9
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)


def test_several_devices_share_their_batch_statistics(
    paper_run: Callable, monkeypatch: pytest.MonkeyPatch
):
    """On several GPUs every trained BN is SyncBN; on one device or CPUs it is BN."""
    made = paper_run("segment")
    for gpus, world, kind in (
        (False, "4", nn.BatchNorm2d),
        (True, "1", nn.BatchNorm2d),
        (True, "4", nn.SyncBatchNorm),
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpus=gpus: gpus)
        monkeypatch.setenv("WORLD_SIZE", world)
        cfg = fcn.build_config(made, configs.config("demo/ade20k"))
        model = MODELS.build(cfg.model)
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        assert all(isinstance(m, kind) for m in norms)
        assert len(norms) > 10


def test_shared_statistics_keep_the_activations_inside_norms(
    exchange: Callable, monkeypatch: pytest.MonkeyPatch
):
    """EfficientNet's BN contains its SiLU, which torch's conversion would drop silently."""
    path = exchange("efficientnet_b0")
    images = torch.randn(1, 3, 64, 64)
    plain = timm_features.TimmFeatures(str(path)).eval()(images)
    monkeypatch.setattr(timm_features, "shares_statistics", lambda: True)
    shared = timm_features.TimmFeatures(str(path)).eval()
    assert any(isinstance(m, nn.SyncBatchNorm) for m in shared.modules())
    for a, b in zip(shared(images), plain, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_the_pyramid_fits_any_backbone(paper_run: Callable):
    _, model = _detector(paper_run("detect", "regnety_002", "fpn"))
    assert model.neck.in_channels == [24, 56, 152, 368]
    _, model = _detector(paper_run("detect", "resnet18d", "fpn"))
    assert model.neck.in_channels == [64, 128, 256, 512]
    assert model.roi_head.bbox_sampler.num == 128


@pytest.mark.parametrize(("cells", "left"), [(7, 4), (14, 7), (8, 4)])
def test_the_regions_cells(
    cells: int, left: int, paper_run: Callable, monkeypatch: pytest.MonkeyPatch
):
    made = paper_run("detect")
    size = {"model.roi_head.bbox_roi_extractor.roi_layer.output_size": cells}
    protocol = Config(dict(detect=size))
    monkeypatch.setattr(configs, "read_protocol", lambda name: protocol)
    _, model = _detector(made)
    head, channels = model.roi_head, 128
    regions = torch.randn(3, channels, cells, cells)
    with torch.no_grad():
        scores, boxes = head.bbox_head.eval()(head.shared_head.eval()(regions))
        assert head.shared_head(regions).shape == (3, 256, left, left)
    assert (scores.shape, boxes.shape) == ((3, 21), (3, 80))
    (align,) = head.bbox_roi_extractor.roi_layers
    assert align.output_size == (cells, cells)
    # the head averages over all positions of layer 4
    assert head.bbox_head.avg_pool.kernel_size == (left, left)


# ---- random weights


def test_random_detectors_are_trained_as_a_whole(paper_run: Callable):
    for name in ("c4", "fpn"):
        _, model = _detector(paper_run("detect", detector=name, pretrained=False))
        assert all(p.requires_grad for p in model.parameters())
        model.train()
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        assert norms
        assert all(m.training for m in norms)


def test_the_preprocessing_is_the_checkpoints(paper_run: Callable):
    about = dict(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    for build in (
        lambda: _detector(paper_run("detect", **about)),
        lambda: _segmenter(paper_run("segment", **about)),
    ):
        _, model = build()
        preprocess = model.data_preprocessor
        np.testing.assert_allclose(preprocess.mean.flatten(), [25.5, 51, 76.5], rtol=1e-6)
        np.testing.assert_allclose(preprocess.std.flatten(), [102, 127.5, 153], rtol=1e-6)


def test_levels_come_outermost_first(exchange: Callable):
    found = timm_features.levels(timm_features.load(exchange("resnet18d")).model)
    assert [(level["num_chs"], level["reduction"]) for level in found] == [
        *((64, 2), (64, 4), (128, 8), (256, 16), (512, 32)),
    ]
