"""Exchange files of small models, tiny rendered data, and a protocol that trains for seconds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from safetensors import safe_open
from torch import Tensor, nn

from core import configs
from core.choices import Choices
from core.exchange import Exchange, read_about, save_exchange
from core.tasks import TASKS
from demo.render import render
from demo.sizes import Sizes
from downstream.openmmlab import compat
from downstream.task import DownstreamRun
from pretrain.model import architectures

# must come before a test imports mmdet or mmseg, whose imports need mmcv's operators
compat.prepare()

TINY = Sizes(
    imagenet_train_per_class=1,
    imagenet_val_per_class=1,
    voc2007_trainval=4,
    voc2007_test=3,
    voc2012_trainval=2,
    ade_training=4,
    ade_validation=3,
    places_train_per_category=1,
    places_val_per_category=1,
    cifar_per_batch=8,
    cifar_test=20,
)
SIZES = {
    "demo/voc": dict(train=6, test=3),
    "demo/coco": dict(trainval=6, test=3),
    "demo/ade20k": dict(training=4, validation=3),
    "demo/cifar10": dict(train=40, test=20),
}


@pytest.fixture(autouse=True)
def _as_in_a_new_process() -> Iterator[None]:
    """Clears mmengine's global loggers, scopes and counters after each test."""
    yield
    for kept in (MMLogger, MessageHub, DefaultScope, Visualizer):
        kept._instance_dict.clear()


def randomise_norms(model: nn.Module, seed: int) -> nn.Module:
    """Draws random norms: a new model's are identities, which would hide a missing tensor."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.2, 0.2),
            ):
                tensor.uniform_(low, high, generator=generator)
    return model


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., DownstreamRun]:
    """Makes a run of a task on an exchange file."""

    def make(
        task: str,
        path: Path,
        protocol: str = "paper",
        data: Path = tmp_path,
        dataset: str = "",
        **choices: Any,
    ) -> DownstreamRun:
        chosen = Choices(**{"backbone": "x"} | choices)
        declared = TASKS[task]
        return DownstreamRun(
            *(declared, chosen, protocol, 0, tmp_path / "runs", data),
            source="x",
            exchange=path,
            dataset=dataset,
        )

    return make


@pytest.fixture
def randomised() -> Callable[..., nn.Module]:
    return randomise_norms


@pytest.fixture
def exchange(tmp_path: Path) -> Callable[..., Path]:
    """Makes the exchange file of a random model, or of the tensors given."""

    def make(
        arch: str = "resnet10d_narrow",
        *,
        classes: int = 3,
        seed: int = 0,
        path: Path | None = None,
        tensors: dict[str, Tensor] | None = None,
        **changes: Any,
    ) -> Path:
        if tensors is None:
            torch.manual_seed(seed)
            tensors = randomise_norms(architectures.create(arch, classes), seed).state_dict()
        values = dict(
            architecture=arch,
            classes=classes,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            resolution=64,
            crop_ratio=0.875,
            interpolation="bilinear",
            pretrained=True,
            recipe="best",
            protocol="demo",
            seed=seed,
            dataset="demo/imagenet",
            record_sha256="",
        )
        path = path or tmp_path / f"{arch}-{seed}.safetensors"
        save_exchange(path, tensors, Exchange(**(values | changes)))
        return path

    return make


def read_raw(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata, by the safetensors library alone."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.fixture
def raw() -> Callable[[Path], tuple[dict[str, Tensor], dict[str, str]]]:
    return read_raw


@pytest.fixture
def rename_tensor() -> Callable[[Path, str, str], None]:
    """Changes the name of one tensor of an exchange file, whose hashes then fit."""

    def rename(path: Path, old: str, new: str) -> None:
        tensors, _ = read_raw(path)
        tensors[new] = tensors.pop(old)
        save_exchange(path, tensors, read_about(path))

    return rename


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all datasets, with a tiny rendering of the demo's."""
    root = tmp_path_factory.mktemp("data")
    render(root / "demo", seed=0, sizes=TINY, report=lambda line: None)
    return root


@pytest.fixture
def data_root(rendered: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny rendering, with matching sizes in the datasets' configs."""
    original = configs.config

    def config(name: str) -> Config:
        found = original(name)
        found.sizes = SIZES.get(name, found.sizes)
        return found

    monkeypatch.setattr(configs, "config", config)
    return rendered


@pytest.fixture
def tiny_protocol(monkeypatch: pytest.MonkeyPatch) -> Config:
    """The demo protocol with smaller images and one epoch; tests may change it further."""
    protocol = copy.deepcopy(configs.read_protocol("demo"))
    protocol.detect.update(
        {
            "train_pipeline.2.scale": (64, 48),
            "test_pipeline.1.scale": (64, 48),
            "train_cfg.max_epochs": 1,
            "param_scheduler.1.milestones": [1],
            "total_batch_size": 2,
            "model.train_cfg.rpn_proposal.nms_pre": 100,
            "model.train_cfg.rpn_proposal.max_per_img": 20,
            "model.test_cfg.rpn.nms_pre": 100,
            "model.test_cfg.rpn.max_per_img": 20,
        }
    )
    protocol.segment.update(
        {
            "train_pipeline.2.scale": (384, 48),
            "train_pipeline.3.crop_size": (48, 48),
            "test_pipeline.1.scale": (384, 48),
            "train_cfg.max_epochs": 1,
            "param_scheduler.0.end": 1,
            "total_batch_size": 2,
        }
    )
    protocol.linear.update(resolution=32, penalties=[1e-3, 1e-1])
    protocol.finetune.update(resolution=32 / 224)
    protocol.linear_sgd.update(resolution=32 / 224)
    monkeypatch.setattr(configs, "read_protocol", lambda name: protocol)
    return protocol


@pytest.fixture
def one_line(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """A command's output on standard error, which must be one line."""

    def read() -> str:
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("trickbench: ")
        return lines[0]

    return read


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes a launcher's environment variables."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
