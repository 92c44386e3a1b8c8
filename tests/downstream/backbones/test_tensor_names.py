"""Checkpoints with other libraries' tensor names, against those libraries' networks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmdet.models
import mmseg.models
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.transforms._presets import ImageClassification

from core.errors import InputError
from downstream.__main__ import main
from downstream.backbones import sources, timm_features
from downstream.backbones.tensor_names import timm_names
from downstream.backbones.timm_features import TimmFeatures

IMAGE = torch.randn(1, 3, 96, 80, generator=torch.Generator().manual_seed(4))
Tensors = dict[str, Tensor]


def _mmdet(name: str, depth: int, **kwargs: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(mmdet.models.backbones, name)(depth=depth, **kwargs)


def _mmseg(name: str, depth: int, **kwargs: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(mmseg.models.backbones, name)(depth=depth, **kwargs)


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def _detector(tensors: Tensors) -> dict[str, Any]:
    """A distributed model with a neck and heads, as mmengine saves it."""
    parts = {
        "neck.lateral_convs.0.conv.weight": torch.ones(2, 2),
        "rpn_head.fc.bias": torch.ones(3),
    }
    return {
        "meta": {"epoch": 12, "classes": ["a", "b"]},
        "state_dict": _prefixed("module.", _prefixed("backbone.", tensors) | parts),
    }


WRAPPED: dict[str, Callable[[Tensors], Any]] = {
    "bare": lambda tensors: tensors,
    "state_dict": lambda tensors: {"state_dict": tensors, "epoch": 3},
    "model": lambda tensors: {"model": tensors, "optimizer": {"lr": 0.1}},
    "averaged": lambda tensors: {
        "model_ema": {"n_averaged": torch.tensor(7)} | _prefixed("module.", tensors)
    },
    "ema": lambda tensors: {"state_dict_ema": tensors},
    "compiled": lambda tensors: _prefixed("_orig_mod.module.", tensors),
    "backbone": lambda tensors: _prefixed("backbone.", tensors),
    "detector": _detector,
}
# every wrapper, and every kind of network at least once
NETWORKS = {
    "mmdet ResNet-50": (_mmdet("ResNet", 50), "resnet50", "detector"),
    "mmdet ResNet-18": (_mmdet("ResNet", 18), "resnet18", "bare"),
    "mmdet ResNetV1d-50": (_mmdet("ResNetV1d", 50), "resnet50d", "state_dict"),
    "mmdet ResNetV1d-18": (_mmdet("ResNetV1d", 18), "resnet18d", "detector"),
    "mmdet ResNeXt-50": (
        _mmdet("ResNeXt", 50, groups=32, base_width=4),
        "resnext50_32x4d",
        "backbone",
    ),
    "mmdet caffe": (_mmdet("ResNet", 50, style="caffe"), "resnet50_v1", "backbone"),
    "mmseg ResNet-18": (_mmseg("ResNet", 18), "resnet18", "model"),
    "mmseg ResNetV1c-50": (_mmseg("ResNetV1c", 50), "resnet50c", "averaged"),
    "mmseg ResNetV1d-18": (_mmseg("ResNetV1d", 18), "resnet18d", "ema"),
    "mmseg ResNetV1d-34": (_mmseg("ResNetV1d", 34), "resnet34d", "compiled"),
}


@pytest.fixture
def imported(tmp_path: Path) -> Callable[[Any, str], Path]:
    """Saves a checkpoint and imports it."""

    def run(content: Any, arch: str) -> Path:
        torch.save(content, tmp_path / "theirs.pth")
        spec = f"file:{tmp_path / 'theirs.pth'},arch={arch}"
        return sources.exchange_of(spec, tmp_path / "out", "demo", 0)

    return run


@torch.no_grad()
def _largest_difference(path: Path, theirs: tuple[Tensor, ...]) -> float:
    ours = TimmFeatures(str(path)).eval()(IMAGE)
    assert [f.shape for f in ours] == [f.shape for f in theirs]
    assert min(f.std().item() for f in theirs) > 1e-2
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))


def _network(build: Callable[[], nn.Module], randomised: Callable) -> nn.Module:
    torch.manual_seed(3)
    network = randomised(build(), 3)
    network.eval()  # returns nothing for mmdet's and mmseg's
    return network


def _features(network: nn.Module) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return tuple(network(IMAGE))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_mmdet_and_mmseg(name: str, imported: Callable, randomised: Callable):
    build, arch, wrapper = NETWORKS[name]
    network = _network(build, randomised)
    path = imported(WRAPPED[wrapper](network.state_dict()), arch)
    assert _largest_difference(path, _features(network)) <= 1e-5


# Written down from mmpretrain/models/backbones/resnet.py (ConvModule in the deep stem; ResLayer
# appends an average pool only `if avg_down and stride != 1`) and from gluoncv's resnetv1b.py.
# The networks are mmdet's, whose names are on the left.
MMPRETRAIN = {
    r"stem\.0\.": "stem.0.conv.",
    r"stem\.1\.": "stem.0.bn.",
    r"stem\.3\.": "stem.1.conv.",
    r"stem\.4\.": "stem.1.bn.",
    r"stem\.6\.": "stem.2.conv.",
    r"stem\.7\.": "stem.2.bn.",
}
MMPRETRAIN_D = MMPRETRAIN | {
    r"layer1\.0\.downsample\.1\.": "layer1.0.downsample.0.",
    r"layer1\.0\.downsample\.2\.": "layer1.0.downsample.1.",
}
GLUON_NORMS = {
    r"((?:.*\.)?bn\d|.*downsample\.NORM)\.weight": r"\1.gamma",
    r"((?:.*\.)?bn\d|.*downsample\.NORM)\.bias": r"\1.beta",
}
GLUON_STEM = {
    r"stem\.([036])\.weight": r"conv1.\1.weight",
    r"stem\.([14])\.weight": r"conv1.\1.gamma",
    r"stem\.([14])\.bias": r"conv1.\1.beta",
    r"stem\.([14])\.running": r"conv1.\1.running",
    r"stem\.7\.weight": "bn1.gamma",
    r"stem\.7\.bias": "bn1.beta",
    r"stem\.7\.running": "bn1.running",
}


def _gluon(norm: int) -> dict[str, str]:
    return {old.replace("NORM", str(norm)): new for old, new in GLUON_NORMS.items()}


TABLES: dict[str, tuple[Callable[[], nn.Module], str, dict[str, str]]] = {
    "mmpretrain ResNet": (_mmdet("ResNet", 18), "resnet18", {}),
    "mmpretrain ResNetV1d-50": (_mmdet("ResNetV1d", 50), "resnet50d", MMPRETRAIN_D),
    "mmpretrain ResNetV1c": (_mmseg("ResNetV1c", 50), "resnet50c", MMPRETRAIN),
    "gluoncv v1b": (_mmdet("ResNet", 18), "resnet18", _gluon(1)),
    "gluoncv v1c": (_mmseg("ResNetV1c", 50), "resnet50c", GLUON_STEM | _gluon(1)),
    "gluoncv v1d": (_mmdet("ResNetV1d", 50), "resnet50d", GLUON_STEM | _gluon(2)),
}


@pytest.mark.parametrize("style", TABLES)
def test_names_of_mmpretrain_and_gluoncv(style: str, imported: Callable, randomised: Callable):
    build, arch, table = TABLES[style]
    network = _network(build, randomised)
    theirs: Tensors = {}
    for name, tensor in network.state_dict().items():
        if style.startswith("gluoncv") and name.endswith("num_batches_tracked"):
            continue  # MXNet keeps no such counters
        found = [pattern for pattern in table if re.match(pattern, name)]
        assert len(found) <= 1, (name, found)
        theirs[re.sub(f"^{found[0]}", table[found[0]], name) if found else name] = tensor
    width = theirs["layer4.0.conv1.weight"].shape[0] * (4 if "50" in arch else 1)
    head = {"weight": torch.randn(5, width), "bias": torch.randn(5)}
    if style.startswith("mmpretrain"):
        theirs = _prefixed("backbone.", theirs) | _prefixed("head.fc.", head)
    else:
        theirs |= _prefixed("fc.", head)
    path = imported({"state_dict": theirs}, arch)
    assert _largest_difference(path, _features(network)) <= 1e-5
    tensors, about = sources.exchange.load_exchange(path)
    assert about.classes == 5
    assert torch.equal(tensors["fc.weight"], head["weight"])
    assert torch.equal(tensors["fc.bias"], head["bias"])


def test_se_resnets_of_mmpretrain(imported: Callable):
    # seresnet.py: SEBottleneck has an SELayer named se_layer, of two ConvModules with biases
    torch.manual_seed(0)
    expected = timm.create_model("seresnet50", num_classes=2).state_dict()
    theirs = {
        re.sub(r"se\.fc([12])", r"se_layer.conv\1.conv", f"backbone.{name}"): tensor
        for name, tensor in expected.items()
        if not name.startswith("fc.")
    }
    assert "backbone.layer1.0.se_layer.conv1.conv.bias" in theirs
    theirs |= {"head.fc.weight": expected["fc.weight"], "head.fc.bias": expected["fc.bias"]}
    found, _ = sources.exchange.load_exchange(imported({"state_dict": theirs}, "seresnet50"))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d", "wide_resnet50_2"])
@torch.no_grad()
def test_networks_of_torchvision(name: str, tmp_path: Path, randomised: Callable):
    torch.manual_seed(1)
    theirs = randomised(torchvision.models.get_model(name, weights=None), 1).eval()
    preset = ImageClassification(crop_size=176, resize_size=220, mean=(0.1, 0.2, 0.3))
    found = sources.from_torchvision_model(theirs, name, preset, f"torchvision:{name}/X")
    assert found.difference is not None
    assert found.difference <= 1e-4
    path = sources.write(found, f"torchvision:{name}/X", tmp_path, "demo", 0)
    x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(IMAGE))))
    levels = []
    for layer in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
        levels.append(x := layer(x))
    assert _largest_difference(path, tuple(levels)) <= 1e-5
    _, about = sources.exchange.load_exchange(path)
    assert (about.mean, about.std) == ((0.1, 0.2, 0.3), (0.229, 0.224, 0.225))
    assert (about.resolution, about.crop_ratio, about.classes) == (176, 0.8, 1000)
    assert about.interpolation == "bilinear"


def test_a_model_that_computes_something_else_is_noticed(randomised: Callable):
    # the same names and shapes, but the stride in another convolution
    theirs = randomised(torchvision.models.resnet50(weights=None), 1)
    theirs.layer3[0].conv1.stride, theirs.layer3[0].conv2.stride = (2, 2), (1, 1)
    preset = ImageClassification(crop_size=224)
    with pytest.raises(InputError, match="timm's resnet50 with the same tensors has other logits"):
        sources.from_torchvision_model(theirs, "resnet50", preset, "torchvision:resnet50/X")


# ---- names only


def _wanted(arch: str) -> list[str]:
    return list(timm.create_model(arch, num_classes=2).state_dict())


def test_a_detectors_own_parts_are_left_out_and_listed():
    names = ["module.backbone.bn1.bias", "module.rpn_head.rpn_conv.weight", "neck.fc.weight"]
    renamed, left_out = timm_names(names, _wanted("resnet18"))
    assert renamed == {"module.backbone.bn1.bias": "bn1.bias"}
    assert left_out == ["module.rpn_head.rpn_conv.weight", "neck.fc.weight"]


def test_without_a_part_named_backbone_nothing_is_left_out():
    names = ["conv1.weight", "neck.weight", "patch_embed.backbone.stem.weight"]
    renamed, left_out = timm_names(names, _wanted("resnet18"))
    assert renamed == {name: name for name in names}
    assert left_out == []


def test_timms_own_names_come_first():
    # a layer scale that is named gamma, and a classifier that is named head.fc
    wanted = _wanted("convnext_atto")
    assert {"stages.0.blocks.0.gamma", "head.fc.weight"} <= set(wanted)
    assert timm_names([f"module.{name}" for name in wanted], wanted) == (
        {f"module.{name}": name for name in wanted},
        [],
    )


def test_shortcuts_without_any_pool_are_no_average_pool_shortcuts():
    # strided 1x1 convolutions must not slip into a network that averages before them
    average = {"conv1.weight"} | {
        f"layer{i}.0.downsample.{j}.weight" for i in (1, 2, 3, 4) for j in (1, 2)
    }
    strided = ["conv1.weight", "layer1.0.downsample.0.weight", "layer2.0.downsample.0.weight"]
    renamed, _ = timm_names(strided, average)
    assert renamed == {name: name for name in strided}


@pytest.mark.parametrize(
    "name",
    ["resnetv1d0_conv0_weight", "conv0_weight", "resnetv1b0_layers1_batchnorm2_running_mean"],
)
def test_names_that_gluoncv_counts_up_are_refused(name: str, imported: Callable):
    with pytest.raises(InputError, match=f"{name}: .*the same for v1c and v1d, .*save_parameters"):
        imported({"fc.bias": torch.ones(2), name: torch.ones(2)}, "resnet50d")


# ---- every tensor is mapped or listed

ARCH = "resnet10d_narrow"


def _named(classes: int = 5, seed: int = 1) -> Tensors:
    torch.manual_seed(seed)
    return timm.create_model(ARCH, num_classes=classes).state_dict()


def _equal(found: Tensors, expected: Tensors) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in expected
    )


def _write(tensors: Tensors, folder: Path) -> Path:
    save_file(tensors, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def _import(spec: str, folder: Path) -> Path:
    return sources.exchange_of(spec, folder, "demo", 0)


def _refused(tensors: Tensors, tmp_path: Path, arch: str = ARCH) -> str:
    source = _write(tensors, tmp_path)
    with pytest.raises(InputError) as caught:
        _import(f"file:{source},arch={arch}", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    return str(caught.value)


def test_a_missing_an_extra_and_a_misshapen_tensor_are_named(tmp_path: Path):
    tensors = _named()
    del tensors["layer2.0.bn1.running_var"]
    assert "1 tensors: layer2.0.bn1.running_var is not in the" in _refused(tensors, tmp_path)
    tensors = _named() | {"layer2.0.bn1.extra": torch.ones(2)}
    assert "1 tensors: layer2.0.bn1.extra is not in the model" in _refused(tensors, tmp_path)
    tensors = _named() | {"bn1.weight": torch.ones(1)}
    assert "1 tensors: bn1.weight is [1] in the" in _refused(tensors, tmp_path)


def test_half_a_classifier_is_none(tmp_path: Path):
    tensors = _named(classes=1)
    del tensors["fc.bias"]
    assert "1 tensors: fc.bias is not in the checkpoint" in _refused(tensors, tmp_path)
    tensors = _named(classes=5)
    del tensors["fc.weight"]
    assert "1 tensors: fc.bias is [5] in the checkpoint" in _refused(tensors, tmp_path)


def test_two_tensors_for_one_place_are_refused(tmp_path: Path):
    tensors = _named() | {"stem.7.bias": torch.ones(32), "head.fc.bias": torch.ones(5)}
    assert f"as {ARCH}: several tensors for bn1.bias, fc.bias" in _refused(tensors, tmp_path)


def test_tensors_of_whole_numbers_are_refused(tmp_path: Path):
    tensors = _named()
    tensors["layer1.0.conv1.weight"] = tensors["layer1.0.conv1.weight"].to(torch.int8)
    found = _refused(tensors, tmp_path)
    assert found.endswith("expected floating-point tensors, found others: layer1.0.conv1.weight")


def test_half_precision_is_widened(tmp_path: Path, raw: Callable):
    tensors = _named()
    half = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    path = _import(f"file:{_write(half, tmp_path)},arch={ARCH}", tmp_path / "out")
    expected = {k: v.float() if v.is_floating_point() else v for k, v in half.items()}
    assert _equal(raw(path)[0], expected)


def test_what_is_made_up_is_the_same_every_time(tmp_path: Path):
    # a classifier drawn anew would give one checkpoint another hash each time
    tensors = {k: v for k, v in _named().items() if not k.startswith("fc.")}
    spec = f"file:{_write(tensors, tmp_path)},arch={ARCH}"
    torch.manual_seed(5)
    first = _import(spec, tmp_path / "first")
    torch.manual_seed(6)
    again = _import(spec, tmp_path / "again")
    assert timm_features.load(first).sha256 == timm_features.load(again).sha256


def test_importing_what_was_exported_changes_nothing(tmp_path: Path):
    first = _import(f"random:{ARCH}", tmp_path / "first")
    again = _import(f"file:{first},arch={ARCH}", tmp_path / "again")
    assert timm_features.load(first).sha256 == timm_features.load(again).sha256


def test_several_state_dicts_need_a_choice(tmp_path: Path, raw: Callable):
    plain, averaged = _named(seed=1), _named(seed=2)
    torch.save({"model": plain, "model_ema": averaged}, tmp_path / "a.pth")
    spec = f"file:{tmp_path / 'a.pth'},arch={ARCH}"
    with pytest.raises(InputError, match=r"several state dicts: .* key=model or key=model_ema"):
        _import(spec, tmp_path / "out")
    for key, expected in (("model", plain), ("model_ema", averaged)):
        assert _equal(raw(_import(f"{spec},key={key}", tmp_path / key))[0], expected)
    with pytest.raises(InputError, match=r"unknown state dict .* did you mean model_ema"):
        _import(f"{spec},key=model_emo", tmp_path / "out")


def test_the_import_command_says_what_became_of_each_tensor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    tensors = {f"backbone.{k}": v for k, v in _named().items() if not k.startswith("fc.")}
    tensors["backbone.stem.7.bias"] = tensors.pop("backbone.bn1.bias")
    del tensors["backbone.bn1.num_batches_tracked"]
    torch.save(tensors | {"neck.weight": torch.ones(2)}, tmp_path / "a.pth")
    assert main(["import", f"file:{tmp_path / 'a.pth'},arch={ARCH}", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    total = len(_named())
    assert "backbone.stem.7.bias -> bn1.bias" in lines
    assert "neck.weight left out: not in the classification network" in lines
    for name in ("fc.weight", "fc.bias", "bn1.num_batches_tracked"):
        assert f"{name} added: the source lacks it, set to 0" in lines
    assert (
        f"{ARCH}, {total} tensors: 0 with the same name, {total - 3} renamed, 3 added; "
        f"1 of the source left out"
    ) in lines
    assert lines[-1] == (
        f"wrote {tmp_path / 'backbone.safetensors'}: use it with "
        f"BACKBONE=file:{tmp_path / 'backbone.safetensors'}"
    )


def test_a_recipes_checkpoint_is_imported_as_it_is(
    exchange: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["--protocol", "demo", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert main(["import", "best", *words]) == 2
    error = capsys.readouterr().err
    assert "best has no checkpoint yet" in error
    assert "make pretrain VARIANT=best PROTOCOL=demo SEED=0" in error

    folder = tmp_path / "runs/demo/pretrain/best/seed0"
    folder.mkdir(parents=True)
    content = exchange().read_bytes()
    (folder / "backbone.safetensors").write_bytes(content)
    assert main(["import", "best", *words]) == 0
    assert (tmp_path / "out/backbone.safetensors").read_bytes() == content


def test_a_backbone_that_is_used_at_once_says_what_became_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    tensors = _named()
    spec = f"file:{_write(tensors, tmp_path)},arch={ARCH}"
    sources.exchange_of(spec, tmp_path / "out", "demo", 0)
    assert capsys.readouterr().out == (
        f"{spec}: {ARCH}, {len(tensors)} tensors: {len(tensors)} with the same name, "
        f"0 renamed, 0 added; 0 of the source left out\n"
    )
