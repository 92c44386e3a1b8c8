"""Mask R-CNN: mmdet's own but for the backbone; it learns masks, and its evaluator reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.structures import InstanceData
from pycocotools import mask as run_lengths
from torch import nn

from core import configs
from core.metrics import instances
from downstream.backbones import checks
from downstream.detection import mask_rcnn

DETECTORS = ("c4", "fpn")
METRICS = ("mask_ap", "mask_ap50", "box_ap", "box_ap50")


@pytest.fixture
def build(
    exchange: Callable, make_run: Callable, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Config]:
    """Builds the config for a small backbone and the rendered data, under a protocol."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    def make(detector: str, protocol: str = "paper", arch: str = "resnet10d_narrow") -> Config:
        path = exchange(arch)
        run = make_run("instances", path, protocol=protocol, data=data_root, detector=detector)
        with DefaultScope.overwrite_default_scope("mmdet"):
            return mask_rcnn.build_config(run, configs.config("demo/coco"))

    return make


def _model(cfg: Config) -> nn.Module:
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(cfg.model)


def _samples(cfg: Config, loader: str) -> list[dict]:
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = DATASETS.build(cfg[loader].dataset)
        return [dataset[i] for i in range(len(dataset))]


# ---- the config


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}" if place else key)
    else:
        yield place, tuple(value) if isinstance(value, list) else value


# settings that follow from the backbone
OF_THE_BACKBONE = ("backbone.", "data_preprocessor.", "roi_head.shared_head.")


@pytest.mark.parametrize(
    ("detector", "stock", "aligned", "more"),
    [
        (
            *("c4", "mask-rcnn_r50-caffe-c4.py", ("bbox",)),
            {"train_cfg.rpn.allowed_border": (-1, 0)},
        ),
        ("fpn", "mask-rcnn_r50_fpn.py", ("bbox", "mask"), {}),
    ],
)
def test_all_but_the_backbone_is_mmdets(
    detector: str,
    stock: str,
    aligned: tuple[str, ...],
    more: dict[str, Any],
    build: Callable,
    tmp_path: Path,
):
    (tmp_path / "stock.py").write_text(f'_base_ = "mmdet::_base_/models/{stock}"\n')
    theirs = dict(_leaves(Config.fromfile(str(tmp_path / "stock.py")).model.to_dict()))
    cfg = build(detector, arch="resnet50d")
    ours = dict(_leaves(cfg.model.to_dict()))
    differing = {
        key: (ours.get(key), theirs.get(key))
        for key in ours.keys() | theirs.keys()
        if ours.get(key) != theirs.get(key) and not key.startswith(OF_THE_BACKBONE)
    }
    assert differing == more | {
        "roi_head.bbox_head.num_classes": (20, 80),
        "roi_head.mask_head.num_classes": (20, 80),
        **{
            f"roi_head.{name}_roi_extractor.roi_layer.use_torchvision": (True, None)
            for name in aligned
        },
    }
    for key in ("data_preprocessor.pad_mask", "data_preprocessor.pad_size_divisor"):
        assert ours[key] == theirs[key]


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_schedule_is_mmdets_1x(detector: str, build: Callable):
    cfg = build(detector)
    assert cfg.total_batch_size == cfg.train_dataloader.batch_size == 16
    expected = dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=1e-4)
    assert cfg.optim_wrapper.optimizer == expected
    assert cfg.train_cfg.max_epochs == 12
    warmup, steps = cfg.param_scheduler
    assert (warmup.start_factor, warmup.end) == (0.001, 500)
    assert (steps.milestones, steps.gamma) == ([8, 11], 0.1)
    for pipeline in (cfg.train_pipeline, cfg.test_pipeline):
        (resize,) = (it for it in pipeline if it.type == "Resize")
        assert resize.scale == (1333, 800)


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_protocol_gives_it_the_size_of_detection(detector: str, build: Callable):
    cfg = build(detector, "demo")
    wanted = configs.read_protocol("demo").detect
    assert cfg.train_cfg.max_epochs == wanted["train_cfg.max_epochs"]
    assert cfg.train_pipeline[2].scale == wanted["train_pipeline.2.scale"]
    assert cfg.model.train_cfg.rcnn.sampler.num == wanted["model.train_cfg.rcnn.sampler.num"]


@pytest.mark.parametrize(("cells", "side"), [(7, 8), (14, 14)])
def test_c4s_masks_are_as_large_as_their_targets(
    cells: int, side: int, build: Callable, monkeypatch: pytest.MonkeyPatch
):
    """Layer 4 halves the cells of a region, rounding up, and the mask head doubles them."""
    size = {"model.roi_head.bbox_roi_extractor.roi_layer.output_size": cells}
    monkeypatch.setattr(configs, "read_protocol", lambda name: Config(dict(instances=size)))
    cfg = build("c4")
    head = _model(cfg).roi_head
    with torch.no_grad():
        regions = torch.randn(2, head.bbox_roi_extractor.out_channels, cells, cells)
        assert head.mask_head(head.shared_head(regions)).shape == (2, 20, side, side)
    assert cfg.model.train_cfg.rcnn.mask_size == side


# ---- the model


def _trained(module: nn.Module) -> list[bool]:
    return [it.grad is not None and bool(it.grad.any()) for it in module.parameters()]


@pytest.mark.usefixtures("tiny_protocol")
@pytest.mark.parametrize("detector", DETECTORS)
def test_an_iteration_trains_the_masks(detector: str, build: Callable):
    torch.manual_seed(0)
    cfg = build(detector, "demo")
    model = _model(cfg).train()
    samples = pseudo_collate(_samples(cfg, "train_dataloader")[:2])
    losses = model(**model.data_preprocessor(samples, True), mode="loss")
    assert losses["loss_mask"].isfinite()
    assert losses["loss_mask"] > 0
    losses["loss_mask"].backward()
    assert all(_trained(model.roi_head.mask_head))
    assert not any(_trained(model.roi_head.bbox_head)), "boxes have losses of their own"
    assert any(_trained(model.backbone))


@pytest.mark.usefixtures("tiny_protocol")
@pytest.mark.parametrize("detector", DETECTORS)
def test_masks_are_predicted_in_the_pixels_of_the_image(detector: str, build: Callable):
    torch.manual_seed(0)
    cfg = build(detector, "demo")
    cfg.model.test_cfg.rcnn.score_thr = 0.0  # an untrained model is sure of nothing
    model = _model(cfg).eval()
    with torch.no_grad():
        samples = model.test_step(pseudo_collate(_samples(cfg, "test_dataloader")[:2]))
    for sample in samples:
        found = sample.pred_instances
        assert len(found) > 0
        assert found.masks.dtype == torch.bool
        assert found.masks.shape == (len(found), *sample.ori_shape)
        for mask, (left, top, right, bottom) in zip(
            found.masks, found.bboxes.tolist(), strict=True
        ):
            outside = mask.clone()
            outside[
                max(0, int(top) - 1) : int(bottom) + 2, max(0, int(left) - 1) : int(right) + 2
            ] = 0
            assert not outside.any(), "a mask lies in its box"


@pytest.mark.parametrize("detector", DETECTORS)
def test_its_features_are_those_of_the_file(detector: str, build: Callable):
    cfg = build(detector)
    model, path = _model(cfg), Path(cfg.model.backbone.checkpoint)
    checks.check_weights(model, path)
    assert checks.feature_difference(model, path) < 1e-5


# ---- the evaluator


def _with_found(sample: DetDataSample, count: int | None = None) -> dict:
    """A sample whose first objects, or all, are found exactly."""
    truth, size = sample.truth, list(sample.ori_shape)
    masks = run_lengths.decode([dict(size=size, counts=it) for it in truth["masks"]])
    found = InstanceData(
        bboxes=torch.from_numpy(truth["boxes"]),
        labels=torch.from_numpy(truth["labels"]),
        scores=torch.ones(len(truth["labels"])),
        masks=torch.from_numpy(masks.transpose(2, 0, 1).astype(bool)),
    )
    sample.pred_instances = found[:count]
    return sample.to_dict()


def _evaluator(cfg: Config, count: int | None = None, keep: Path | None = None) -> Any:
    """The evaluator, to which a test's samples have been shown."""
    evaluator = mask_rcnn.CocoAveragePrecision(keep=None if keep is None else str(keep))
    evaluator.dataset_meta = cfg.test_dataloader.dataset.metainfo
    samples = [it["data_samples"] for it in _samples(cfg, "test_dataloader")]
    evaluator.process({}, [_with_found(sample, count) for sample in samples])
    return evaluator


def test_the_objects_of_the_file_are_perfect(build: Callable, tmp_path: Path):
    evaluator = _evaluator(build("c4"), keep=tmp_path / "instances.npz")
    measured = evaluator.compute_metrics(evaluator.results)
    assert measured == pytest.approx(dict.fromkeys(METRICS, 100))
    kept = instances.load(tmp_path / "instances.npz")
    assert kept.masks == kept.object_masks
    assert len(kept.images) == len(set(kept.images)) == 3
    assert all(kept.masks), "every image has objects"


def test_images_in_which_nothing_is_found(build: Callable):
    evaluator = _evaluator(build("c4"), count=0)
    assert evaluator.compute_metrics(evaluator.results) == dict.fromkeys(METRICS, 0)
