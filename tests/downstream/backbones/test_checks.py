"""Strict loading of exchange files, and checks of the weights in detectors and segmenters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from core import tasks
from core.choices import Choices, directory
from core.errors import InputError
from downstream.__main__ import main
from downstream.backbones import checks, sources, timm_features
from pretrain.model import architectures

ARCH = "resnet10d_narrow"
# of a residual block, a norm's running mean, and a tensor that no dense task uses
TENSORS = ("layer3.0.conv1.weight", "layer1.0.bn2.running_mean", "fc.bias")


def _named(arch: str = ARCH, classes: int = 5, seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return timm.create_model(arch, num_classes=classes).state_dict()


def _equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in expected
    )


# ---- strict, or it raises


def test_a_whole_file_is_loaded_whole(exchange: Callable, raw: Callable):
    path = exchange()
    assert _equal(timm_features.load(path).model.state_dict(), raw(path)[0])


@pytest.mark.parametrize("name", TENSORS)
def test_one_misnamed_tensor_is_refused_everywhere(
    name: str, exchange: Callable, rename_tensor: Callable
):
    path = exchange()
    rename_tensor(path, name, f"{name}_")
    expected = rf"2 tensors: {name} is not in the checkpoint; {name}_ is not in the model"
    for use in (timm_features.load, timm_features.TimmFeatures, timm_features.TimmLastStage):
        with pytest.raises(InputError, match=expected):
            use(str(path))


def test_every_single_name_matters(exchange: Callable, rename_tensor: Callable, raw: Callable):
    path = exchange(ARCH)
    content = path.read_bytes()
    names = list(raw(path)[0])
    assert len(names) > 60
    for name in names:
        rename_tensor(path, name, f"module.{name}")
        with pytest.raises(InputError, match=rf"{name} is not in the checkpoint"):
            timm_features.load(path)
        path.write_bytes(content)


def test_another_architecture_is_refused(exchange: Callable):
    path = exchange(tensors=_named("resnet18d_narrow", 3))
    with pytest.raises(InputError, match=r"layer1\.1\.conv1\.weight is not in the model"):
        timm_features.load(path)
    with pytest.raises(InputError, match=r"as resnet10_narrow: .* tensors: "):
        sources.exchange_of(f"file:{path},arch=resnet10_narrow", path.parent, "demo", 0)


def test_another_shape_is_refused(exchange: Callable):
    tensors = _named(classes=3)
    tensors["layer4.0.conv2.weight"] = torch.ones(256, 256, 1, 1)
    with pytest.raises(
        InputError,
        match=r"1 tensors: layer4\.0\.conv2\.weight is \[256, 256, 1, 1\] in the checkpoint.*"
        r"\[256, 256, 3, 3\] in the model",
    ):
        timm_features.load(exchange(tensors=tensors))


def test_an_output_stride_that_an_architecture_has_not(exchange: Callable):
    with pytest.raises(InputError, match="cannot be built with"):
        timm_features.load(exchange("vit_tiny_patch16_224"), output_stride=8)


STAGES = (
    ("detect",),
    ("detect", "--detector", "fpn"),
    ("segment",),
    ("probe", "--dataset", "cifar10"),
    ("probe", "--dataset", "cifar10", "--mode", "finetune"),
)


@pytest.mark.parametrize("stage", STAGES, ids=" ".join)
@pytest.mark.parametrize("by", ["file", "file and arch", "recipe"])
@pytest.mark.usefixtures("clean_environment")
def test_the_commands_refuse_a_misnamed_tensor(
    stage: tuple[str, ...],
    by: str,
    exchange: Callable,
    rename_tensor: Callable,
    one_line: Callable,
    data_root: Path,
    tmp_path: Path,
):
    runs = tmp_path / "runs"
    recipes = runs / "demo" / "pretrain" / "best" / "seed0" / "backbone.safetensors"
    path = exchange(path=recipes)
    rename_tensor(path, TENSORS[0], "layer3.0.conv1.wieght")
    named = {
        "file": ["--backbone", f"file:{path}"],
        "file and arch": ["--backbone", f"file:{path},arch={ARCH}"],
        "recipe": ["--variant", "best"],
    }[by]
    where = ["--runs", str(runs), "--data", str(data_root)]
    assert main([*stage, *named, *where]) == 2
    message = one_line()
    assert "layer3.0.conv1.weight is not in the checkpoint" in message
    assert "layer3.0.conv1.wieght is not in the model" in message
    assert [p for p in runs.rglob("*") if p.is_file()] == [recipes], "nothing was begun"


def test_weights_that_were_swapped_after_loading_are_noticed(exchange: Callable):
    # the last check before training: the detector's weights are the file's
    path = exchange()
    model = torch.nn.Sequential(
        timm_features.TimmFeatures(str(path), out_levels=(-2,)),
        timm_features.TimmLastStage(str(path)),
    )
    count, unused = checks.check_weights(model, path)
    whole = timm.create_model(ARCH, num_classes=3).state_dict()
    assert unused == ["fc.bias", "fc.weight"]
    assert count == len(whole) - 2
    with torch.no_grad():
        model[1].layer4[0].bn1.weight[3] += 1e-3
    with pytest.raises(
        InputError, match=r": 1 of its tensors differ or .* in the model: layer4\.0\.bn1\.weight$"
    ):
        checks.check_weights(model, path)


def test_a_layer_that_is_in_no_part_is_noticed(exchange: Callable):
    path = exchange()
    with pytest.raises(InputError, match=r"layer4\.0\.conv1\.weight"):
        checks.check_weights(timm_features.TimmFeatures(str(path), out_levels=(-2,)), path)


def test_task_names_keep_the_choices_apart():
    def name(task: str, **given: Any) -> str:
        return directory(tasks.TASKS[task], Choices(variant="best", **given))

    assert name("detect") == "detect"
    assert name("detect", detector="fpn") == "detect-fpn"
    assert name("detect", dataset="bccd") == "detect-bccd"
    assert name("segment") == "segment"
    assert name("linear", dataset="cifar10") == "linear-cifar10"
    few = dict(dataset="cifar10", train_size=500)
    assert name("linear", **few) == "linear-cifar10-train500"
    assert name("linear", **few, limit=20) == "linear-cifar10-train500-limit20"
    assert name("segment", cfg_options=("lr=2",)) not in ("segment", "")


def test_an_architecture_without_a_pyramid_is_refused():
    with pytest.raises(InputError, match="has no feature pyramid"):
        timm_features.levels(torch.nn.Linear(2, 2))


def test_the_last_stage_is_a_resnets(exchange: Callable):
    with pytest.raises(InputError, match=r"regnety_002 has no layer3 and layer4,? .*DETECTOR=fpn"):
        timm_features.TimmLastStage(str(exchange("regnety_002")))


def test_what_no_task_uses(exchange: Callable):
    # timm's efficientnet has a 1 x 1 convolution between its last level and its classifier
    about = timm_features.load(exchange("efficientnet_b0")).about
    unused = checks.unused_by_features(about)
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = ["classifier.weight", "classifier.bias", "conv_head.weight"]
    assert unused == sorted([*expected, *(f"bn2.{part}" for part in norm)])


def test_the_classifiers_name_is_the_architectures():
    assert architectures.classifier(architectures.create("efficientnet_b0", 2)) == "classifier"


# ---- before training: hash and features


def _parts(task: str, path: Path, output_stride: int = 8) -> torch.nn.Module:
    """The parts of a detector or segmenter that hold a backbone, in training mode."""
    if task == "c4":
        frozen = timm_features.TimmFeatures(
            str(path), out_levels=(-2,), frozen_stride=4, freeze_norm=True
        )
        parts = [frozen, timm_features.TimmLastStage(str(path), freeze_norm=True)]
    elif task == "fpn":
        parts = [timm_features.TimmFeatures(str(path), frozen_stride=4)]
    else:
        parts = [timm_features.TimmFeatures(str(path), output_stride=output_stride)]
    return torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), *parts).train()


TASKS = ("c4", "fpn", "fcn")


@pytest.mark.parametrize("task", TASKS)
def test_the_hash_is_of_the_tensors_in_place(task: str, exchange: Callable, raw: Callable):
    path = exchange()
    model = _parts(task, path)
    tensors, _ = raw(path)
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if not name.startswith("fc."):
            kind, shape = tensors[name].dtype, tuple(tensors[name].shape)
            digest.update(f"{name} {kind} {shape}\n".encode() + tensors[name].numpy().tobytes())
    assert checks.sha256_in(model) == digest.hexdigest()
    with torch.no_grad():
        model[1].net.bn1.running_var[0] += 1e-6
    assert checks.sha256_in(model) != digest.hexdigest()


@pytest.mark.parametrize("arch", ["resnet18d", "resnet50"])
@pytest.mark.parametrize("task", TASKS)
def test_features_agree_with_those_of_the_file(arch: str, task: str, exchange: Callable):
    path = exchange(arch)
    model = _parts(task, path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    trained = [parameter.requires_grad for parameter in model.parameters()]
    assert len(set(modes)) == (1 if task != "c4" else 2)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    assert checks.feature_difference(model, path) <= 1e-5
    assert torch.equal(torch.rand(3), expected), "it draws no random numbers"
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == trained
    assert all(parameter.grad is None for parameter in model.parameters())
    assert _equal(model.state_dict(), before)


def _last_stage(model: torch.nn.Module) -> torch.nn.Module:
    return model[2].layer4 if len(model) > 2 else model[1].net.layer4


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("damage", ["tensor", "norm", "not finite", "other weights"])
def test_features_of_other_weights_are_noticed(task: str, damage: str, exchange: Callable):
    path = exchange("resnet18d")
    model = _parts(task, path)
    block = _last_stage(model)[1]
    with torch.no_grad():
        if damage == "tensor":
            block.conv1.weight[5] *= 3
        elif damage == "norm":
            block.bn1, block.bn2 = block.bn2, block.bn1
        elif damage == "not finite":
            block.bn2.running_var[3] = float("nan")
    if damage == "other weights":
        model = _parts(task, exchange("resnet18d", seed=1))
    with pytest.raises(InputError, match=r"the features of stride \d+ .* by up to"):
        checks.feature_difference(model, path)
    assert model.training


def test_another_dilation_is_noticed(exchange: Callable):
    path = exchange("resnet18d")
    model = _parts("fcn", path)
    for module in model[1].net.layer4.modules():
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3):
            module.dilation = module.padding = (1, 1)
    with pytest.raises(InputError, match="features of stride 8 in the model differ"):
        checks.feature_difference(model, path)
    model = _parts("fcn", path, output_stride=16)
    assert checks.feature_difference(model, path) <= 1e-5
    model[1].output_stride = 8
    with pytest.raises(InputError, match=r"are \[1, 256, 8, 8\], expected \[1, 256, 16, 16\]"):
        checks.feature_difference(model, path)


def test_pools_in_dilated_shortcuts_are_noticed(exchange: Callable, monkeypatch: Any):
    path = exchange("resnet18d")
    with monkeypatch.context() as patched:
        patched.setattr(timm_features, "identity_in_dilated_shortcuts", lambda model: None)
        model = _parts("fcn", path)
    with pytest.raises(InputError, match="features of stride 8 in the model differ"):
        checks.feature_difference(model, path)
