"""The first convolution's input in mmdet and mmseg: RGB with the checkpoint's mean and std."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from PIL import Image
from torch import nn

from core import configs
from downstream.backbones import sources
from downstream.detection import faster_rcnn
from downstream.segmentation import fcn
from downstream.task import DownstreamRun

# All different, and different from ImageNet's: swapped channels or a default would show.
MEAN, STD = (0.1, 0.3, 0.6), (0.5, 0.25, 0.4)
WIDTH, HEIGHT = 96, 64
DETECTION = {
    "train_pipeline.2.scale": (WIDTH, HEIGHT),
    "test_pipeline.1.scale": (WIDTH, HEIGHT),
    "model.train_cfg.rpn_proposal.nms_pre": 50,
    "model.train_cfg.rpn_proposal.max_per_img": 10,
    "model.test_cfg.rpn.nms_pre": 50,
    "model.test_cfg.rpn.max_per_img": 10,
}
SEGMENTATION = {
    "train_pipeline.2.scale": (8 * HEIGHT, HEIGHT),
    "train_pipeline.3.crop_size": (48, 48),
    "test_pipeline.1.scale": (8 * HEIGHT, HEIGHT),
}
ANNOTATION = (
    "<annotation><size><width>96</width><height>64</height><depth>3</depth></size><object>"
    "<name>thing</name><difficult>0</difficult><bndbox><xmin>11</xmin><ymin>6</ymin>"
    "<xmax>50</xmax><ymax>40</ymax></bndbox></object></annotation>"
)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def _expected(path: Path) -> np.ndarray:
    rgb = np.asarray(Image.open(path).convert("RGB"), np.float64) / 255
    return ((rgb - MEAN) / STD).transpose(2, 0, 1)


def _write_lossless(pixels: np.ndarray, path: Path) -> None:
    """Writes a PNG under any file name; readers detect the format from the content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format="png")


@pytest.fixture
def tiny_run(exchange: Callable, make_run: Callable) -> Callable[..., DownstreamRun]:
    path = exchange(mean=MEAN, std=STD)
    return lambda task, **choices: make_run(task, path, "tiny", **choices)


@pytest.fixture
def detection(tmp_path: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Config:
    for split in ("trainval", "test"):
        listing = tmp_path / "set" / "ImageSets" / "Main" / f"{split}.txt"
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("a\n")
    (tmp_path / "set" / "Annotations").mkdir()
    (tmp_path / "set" / "Annotations" / "a.xml").write_text(ANNOTATION)
    _write_lossless(pixels, tmp_path / "set" / "JPEGImages" / "a.jpg")
    protocol = Config(dict(detect=DETECTION))
    monkeypatch.setattr(configs, "read_protocol", lambda name: protocol)
    return Config(
        dict(
            name="tiny",
            root="set",
            parts=dict(train=[("", "trainval")], test=[("", "test")]),
            sizes=dict(train=1, test=1),
            classes=["thing"],
            get_it="",
        )
    )


@pytest.fixture
def segmentation(tmp_path: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Config:
    _write_lossless(pixels, tmp_path / "set" / "images" / "a.jpg")
    labels = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 151
    _write_lossless(labels, tmp_path / "set" / "labels" / "a.png")
    protocol = Config(dict(segment=SEGMENTATION))
    monkeypatch.setattr(configs, "read_protocol", lambda name: protocol)
    return Config(
        dict(
            name="tiny",
            root="set",
            dataset=dict(type="ADE20KDataset"),
            folders=dict(train=("images", "labels"), test=("images", "labels")),
            splits=dict(train="training", test="validation"),
            sizes=dict(training=1, validation=1),
            classes=150,
            get_it="",
        )
    )


def _seen(cfg: Config, loader: dict, training: bool) -> torch.Tensor:
    """The first convolution's input, for the first batch of a loader of the task's own config."""
    loader = loader | dict(batch_size=1, num_workers=0)
    model = MODELS.build(cfg.model)
    seen: list[torch.Tensor] = []
    first = model.backbone.net.conv1[0]
    first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    batch = next(iter(Runner.build_dataloader(loader, seed=0)))
    batch = model.data_preprocessor(batch, training)
    model.train(training)
    if training:
        model(**batch, mode="loss")
    else:
        with torch.no_grad():
            model(**batch, mode="predict")
    return seen[0]


@pytest.mark.parametrize("detector", ["c4", "fpn"])
def test_detectors_see_normalised_rgb(
    detector: str, detection: Config, tiny_run: Callable, tmp_path: Path
):
    with DefaultScope.overwrite_default_scope("mmdet"):
        cfg = faster_rcnn.build_config(tiny_run("detect", detector=detector), detection)
        seen = _seen(cfg, cfg.test_dataloader, training=False)
    expected = _expected(tmp_path / "set" / "JPEGImages" / "a.jpg")
    assert seen.shape == (1, 3, HEIGHT, WIDTH)
    np.testing.assert_allclose(seen[0].numpy(), expected, atol=1e-5)


def test_detectors_are_trained_on_the_same(detection: Config, tiny_run: Callable, tmp_path: Path):
    expected = _expected(tmp_path / "set" / "JPEGImages" / "a.jpg")
    with DefaultScope.overwrite_default_scope("mmdet"):
        cfg = faster_rcnn.build_config(tiny_run("detect"), detection)
        for flip in (0.0, 1.0):
            pipeline = cfg.train_dataloader.dataset.datasets[0].pipeline
            next(t for t in pipeline if t.type == "RandomFlip").prob = flip
            seen = _seen(cfg, cfg.train_dataloader, training=True)[0].numpy()
            np.testing.assert_allclose(seen[:, :, ::-1] if flip else seen, expected, atol=1e-5)


def test_segmenters_see_normalised_rgb(segmentation: Config, tiny_run: Callable, tmp_path: Path):
    with DefaultScope.overwrite_default_scope("mmseg"):
        cfg = fcn.build_config(tiny_run("segment"), segmentation)
        seen = _seen(cfg, cfg.test_dataloader, training=False)
    expected = _expected(tmp_path / "set" / "images" / "a.jpg")
    assert seen.shape == (1, 3, HEIGHT, WIDTH)
    np.testing.assert_allclose(seen[0].numpy(), expected, atol=1e-5)


def test_segmenters_are_trained_on_a_crop_of_the_same(
    segmentation: Config, tiny_run: Callable, tmp_path: Path
):
    expected = _expected(tmp_path / "set" / "images" / "a.jpg")
    with DefaultScope.overwrite_default_scope("mmseg"):
        cfg = fcn.build_config(tiny_run("segment"), segmentation)
        pipeline = cfg.train_dataloader.dataset.pipeline
        for transform in pipeline:
            if transform.type == "RandomResize":
                transform.ratio_range = (1.0, 1.0)
            elif transform.type in ("RandomFlip", "RandomBlur"):
                transform.prob = 0.0
        loader = cfg.train_dataloader | dict(drop_last=False)
        seen = _seen(cfg, loader, training=True)[0].numpy()
    assert seen.shape == (3, 48, 48)
    windows = [
        (top, left)
        for top in range(HEIGHT - 48 + 1)
        for left in range(WIDTH - 48 + 1)
        if np.allclose(seen, expected[:, top : top + 48, left : left + 48], atol=1e-5)
    ]
    assert len(windows) == 1


def test_padding_is_zero_after_normalisation(
    segmentation: Config, tiny_run: Callable, tmp_path: Path
):
    # a crop larger than the image: the padding is the mean, and its labels are ignored
    configs.read_protocol("tiny").segment["train_pipeline.3.crop_size"] = (80, 112)
    with DefaultScope.overwrite_default_scope("mmseg"):
        cfg = fcn.build_config(tiny_run("segment"), segmentation)
        for transform in cfg.train_dataloader.dataset.pipeline:
            if transform.type == "RandomResize":
                transform.ratio_range = (1.0, 1.0)
            elif transform.type in ("RandomFlip", "RandomBlur"):
                transform.prob = 0.0
        loader = cfg.train_dataloader | dict(batch_size=1, num_workers=0)
        batch = next(iter(Runner.build_dataloader(loader, seed=0)))
        ready = MODELS.build(cfg.model.data_preprocessor)(batch, training=True)
    images, labels = ready["inputs"][0].numpy(), ready["data_samples"][0].gt_sem_seg.data[0].numpy()
    expected = _expected(tmp_path / "set" / "images" / "a.jpg")
    np.testing.assert_allclose(images[:, :HEIGHT, :WIDTH], expected, atol=1e-5)
    outside = np.ones((80, 112), bool)
    outside[:HEIGHT, :WIDTH] = False
    assert (images[:, outside] == 0).all()
    assert (labels[outside] == 255).all()


# ---- imported weights, a real JPEG, and timm's own transform

# the user's specification; mean and std of RGB from 0 to 255; the order of channels
IMPORTED = {
    "caffe": ("channels=bgr,mean=122/116/104,std=1/1/1", (122, 116, 104), (1, 1, 1), "bgr"),
    "inception": (
        "mean=127.5/127.5/127.5,std=127.5/127.5/127.5",
        *((127.5,) * 3, (127.5,) * 3, "rgb"),
    ),
    "timm": ("channels=rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "rgb"),
}


@pytest.fixture
def jpeg(tmp_path: Path) -> Path:
    """A smooth image in three unlike channels, with the usual halved colour."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    pixels = np.stack([x * 2, y * 3, 255 - x - y], axis=2).astype(np.uint8)
    path = tmp_path / "real.jpg"
    Image.fromarray(pixels).save(path, quality=90)
    return path


def _first_convolution(model: nn.Module, cfg: Config) -> tuple[torch.Tensor, torch.Tensor]:
    """Input and output of the first convolution for the first test image."""
    passed: list[torch.Tensor] = []
    first = model.backbone.net.conv1[0]
    first.register_forward_hook(lambda module, inputs, out: passed.extend((inputs[0], out)))
    loader = cfg.test_dataloader | dict(batch_size=1, num_workers=0)
    batch = model.data_preprocessor(next(iter(Runner.build_dataloader(loader, seed=0))), False)
    with torch.no_grad():
        model.eval()
        model(**batch, mode="predict")
    return passed[0], passed[1]


@pytest.mark.parametrize("name", IMPORTED)
@pytest.mark.parametrize("stage", ["detect", "segment"])
def test_imported_weights_see_what_they_were_trained_on(
    stage: str,
    name: str,
    jpeg: Path,
    request: pytest.FixtureRequest,
    make_run: Callable,
    tmp_path: Path,
):
    options, mean, std, channels = IMPORTED[name]
    folder = {"detect": "JPEGImages", "segment": "images"}[stage]
    found = request.getfixturevalue({"detect": "detection", "segment": "segmentation"}[stage])
    (tmp_path / "set" / folder / "a.jpg").write_bytes(jpeg.read_bytes())
    theirs = timm.create_model("resnet10d_narrow", num_classes=2)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    spec = f"file:{tmp_path / 'theirs.pth'},arch=resnet10d_narrow,{options}"
    path = sources.exchange_of(spec, tmp_path / "imported", "demo", 0)
    with DefaultScope.overwrite_default_scope({"detect": "mmdet", "segment": "mmseg"}[stage]):
        if stage == "detect":
            cfg = faster_rcnn.build_config(make_run(stage, path, "tiny", detector="fpn"), found)
        else:
            cfg = fcn.build_config(make_run(stage, path, "tiny"), found)
        seen, out = _first_convolution(MODELS.build(cfg.model), cfg)

    # timm's validation transform, whose resizing changes nothing here
    transform = timm.data.create_transform(
        (3, HEIGHT, WIDTH),
        mean=tuple(value / 255 for value in mean),
        std=tuple(value / 255 for value in std),
    )
    *_, to_tensor, normalise = transform.transforms
    expected = normalise(to_tensor(Image.open(jpeg)))
    scale = 255 / min(std)  # of one unit: pixels from 0 to 1 over the smallest deviation
    difference = (seen[0, :, :HEIGHT, :WIDTH] - expected).abs().max().item()
    assert difference <= 1e-6 * scale
    assert out.shape[-2:] == tuple(-(-n // 2) for n in seen.shape[-2:])

    # and the source's own first convolution, of the pixels in its own order
    pixels = cv2.imread(str(jpeg)).astype(np.float32)  # BGR
    own = (pixels - mean[::-1]) / std[::-1]
    if channels == "rgb":
        own = own[:, :, ::-1]
    inputs = torch.zeros_like(seen)
    inputs[0, :, :HEIGHT, :WIDTH] = torch.from_numpy(own.transpose(2, 0, 1).copy())
    with torch.no_grad():
        wanted = theirs.conv1[0](inputs)
    torch.testing.assert_close(out, wanted, rtol=1e-4, atol=1e-6 * scale)
