"""Tiny image sets, a recipe that trains on them in a second, and a copy of the configs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core import configs as core_configs
from core import exchange
from pretrain import recipe
from pretrain.__main__ import main
from pretrain.images import datasets, loader
from pretrain.model import architectures
from pretrain.training import loop

ROOT = Path(__file__).resolve().parents[2]

TINY = recipe.Recipe(
    arch="resnet10d_narrow",
    dataset="tiny",
    epochs=3,
    batch_size=16,
    lr=0.05,
    base_batch_size=16,
    linear_scaling=True,
    warmup_epochs=1,
    lr_decay="cosine",
    momentum=0.9,
    weight_decay=1e-4,
    no_bias_decay=True,
    zero_gamma=True,
    precision="fp32",
    label_smoothing=0.1,
    distill=None,
    distill_temperature=20,
    mixup_alpha=0.2,
    train_resolution=32,
    eval_resolution=32,
    crop_ratio=0.875,
    interpolation="bilinear",
    hsv_jitter=0.4,
    pca_noise=0.1,
    mean=(0.5, 0.4, 0.3),
    std=(0.25, 0.2, 0.3),
)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Makes floating-point sums independent of the machine."""
    torch.set_num_threads(1)


@pytest.fixture
def tiny_recipe() -> recipe.Recipe:
    """All tricks but distillation, on 32 pixels, for three epochs of batches of 16."""
    return TINY


def make_pixels(count: int, classes: int, seed: int, size: int = 28) -> np.ndarray:
    """Noisy images [count, size, size, 3] of one colour per class; labels 0, 1, ..., 0, 1, ..."""
    rng = np.random.default_rng(seed)
    colours = np.random.default_rng(77).integers(40, 216, (classes, 3))
    noise = rng.integers(-40, 40, (count, size, size, 3))
    return (colours[np.arange(count) % classes][:, None, None] + noise).astype(np.uint8)


MakeImages = Callable[..., datasets.ImageSet]


@pytest.fixture
def make_images() -> MakeImages:
    """Makes an image set in memory."""

    def make(count: int = 48, classes: int = 3, *, seed: int = 0, split: str = "train"):
        return datasets.ImageSet(
            name="tiny",
            mirrors="imagenet",
            split=split,
            classes=tuple(f"class{k}" for k in range(classes)),
            labels=np.arange(count) % classes,
            root=Path("nowhere"),
            pixels=make_pixels(count, classes, seed),
        )

    return make


@pytest.fixture
def make_job(make_images: MakeImages, tmp_path: Path) -> Callable[..., loop.Job]:
    """Makes a run on tiny image sets in the test's temporary folder."""

    def make(settings: recipe.Recipe, out: str = "run", **changes) -> loop.Job:
        values = {
            "recipe": settings,
            "train": make_images(48),
            "test": make_images(21, seed=1, split="val"),
            "out": tmp_path / out,
            "seed": 3,
            "device": torch.device("cpu"),
        }
        return loop.Job(**(values | changes))

    return make


SaveTeacher = Callable[..., Path]


@pytest.fixture
def save_teacher(tmp_path: Path, make_about: Callable[..., exchange.Exchange]) -> SaveTeacher:
    """Writes the exchange file of a randomly initialised teacher for a student's recipe."""

    def save(student: recipe.Recipe, classes: int = 3, **changes) -> Path:
        torch.manual_seed(9)
        about = make_about(
            architecture="resnet18d_narrow",
            classes=classes,
            mean=student.mean,
            std=student.std,
            resolution=32,
            recipe="teacher",
            dataset="tiny",
        )
        path = tmp_path / "teacher.safetensors"
        weights = architectures.create("resnet18d_narrow", classes).state_dict()
        exchange.save_exchange(path, weights, replace(about, **changes))
        return path

    return save


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project's configs that the test can change."""
    folder = tmp_path / "configs"
    shutil.copytree(ROOT / "configs", folder)
    monkeypatch.setattr(core_configs, "CONFIGS", folder)
    return folder


@pytest.fixture
def image_folder() -> Callable[[Path, int, int], None]:
    """Writes a balanced set in ImageNet's layout: <root>/<class>/<file>.JPEG."""

    def write(root: Path, classes: int, per_class: int, seed: int = 0) -> None:
        pixels = make_pixels(classes * per_class, classes, seed)
        for i, image in enumerate(pixels):
            path = root / f"class{i % classes}" / f"{i // classes}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path, "JPEG", quality=90)

    return write


Run = Callable[..., int]

# A smaller demo protocol: "smooth" takes an epoch of batches of 16 at 32 pixels.
SMALLER = "\npretrain = dict(epochs=1 / 120, batch_size=1 / 64, lr=1 / 8, resolution=32 / 224)\n"


@pytest.fixture
def run(
    configs: Path,
    tmp_path: Path,
    image_folder: Callable[[Path, int, int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Runs the command on a rendered set of 48 and 12 images; returns its exit status."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    small = "_base_ = '../imagenet.py'\nroot = 'demo/imagenet'\nget_it = 'make demo-data'\n"
    (configs / "data/demo/imagenet.py").write_text(
        small + "sizes = dict(train=48, val=12)\nclasses = 3\n"
    )
    with (configs / "protocol/demo.py").open("a") as protocol:
        protocol.write(SMALLER)
    image_folder(tmp_path / "data/demo/imagenet/train", 3, 16, seed=0)
    image_folder(tmp_path / "data/demo/imagenet/val", 3, 4, seed=1)

    def start(*words: str, options: Sequence[str] = (), workers: int = 0) -> int:
        places = ["--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs")]
        changes = ["--cfg-options", *options] if options else []
        return main([*words, *places, "--workers", str(workers), *changes])

    return start


@pytest.fixture
def samples_read(monkeypatch: pytest.MonkeyPatch) -> list[loader.Key]:
    """The key (epoch, sample, copy) of each training sample that this process reads, in order."""
    keys: list[loader.Key] = []
    read = loader.TrainingView.__getitem__

    def record(view: loader.TrainingView, key: loader.Key) -> loader.Sample:
        keys.append(key)
        return read(view, key)

    monkeypatch.setattr(loader.TrainingView, "__getitem__", record)
    return keys
