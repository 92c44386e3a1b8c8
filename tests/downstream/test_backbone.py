"""From what the user names to an exchange file, and from that file, strictly, to a model."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from downstream import backbone, sources
from downstream.__main__ import main, task_name
from pretrain import models
from pretrain.errors import InputError

ARCH = "resnet10d_narrow"
# a residual block's, a norm's running mean, and a tensor that no dense task uses
TENSORS = ("layer3.0.conv1.weight", "layer1.0.bn2.running_mean", "fc.bias")


def _named(arch: str = ARCH, classes: int = 5, seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return timm.create_model(arch, num_classes=classes).state_dict()


def _equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in expected
    )


# ---- what the user may say


@pytest.mark.parametrize(("variant", "spec"), [(None, None), ("best", "random:resnet50")])
def test_exactly_one_backbone_is_named(variant: str | None, spec: str | None):
    with pytest.raises(InputError, match="name one backbone"):
        sources.label(variant, spec)


def test_a_misspelt_recipe_is_offered_the_nearest():
    with pytest.raises(InputError, match=r"unknown recipe 'smoth': did you mean smooth"):
        sources.label("smoth", None)


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ("random:resnet50d", "random-resnet50d"),
        ("timm:resnet50.a1_in1k", "timm-resnet50.a1_in1k"),
        ("file:../my weights/a.pth,arch=resnet50", "file-..-my-weights-a.pth-arch-resnet50"),
    ],
)
def test_a_specification_becomes_a_file_name(spec: str, label: str):
    assert sources.label(None, spec) == label


@pytest.mark.parametrize("spec", ["resnet50d", "random:", ":resnet50d", "hub:resnet50d", ""])
def test_other_kinds_of_specification_are_refused(spec: str, tmp_path: Path):
    with pytest.raises(
        InputError, match="is none of random:NAME, timm:NAME, torchvision:NAME/WEIGHTS or file:"
    ):
        sources.exchange_of(spec, tmp_path, "demo", 0)


@pytest.mark.parametrize("kind", ["random:{}", "timm:{}", "file:FILE,arch={}"])
def test_an_unknown_architecture_is_offered_the_nearest(kind: str, tmp_path: Path):
    save_file(_named(), tmp_path / "weights.safetensors")
    spec = kind.format("resnet50dd").replace("FILE", str(tmp_path / "weights.safetensors"))
    with pytest.raises(InputError, match=r"unknown architecture 'resnet50dd': .*\bresnet50d\b"):
        sources.exchange_of(spec, tmp_path, "demo", 0)


def test_an_option_of_a_file_that_is_not_arch_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="'architecture=resnet50' is not of the form arch=NAME"):
        sources.exchange_of("file:a.pth,architecture=resnet50", tmp_path, "demo", 0)


def test_a_recipe_without_a_checkpoint_names_the_command(tmp_path: Path):
    with pytest.raises(InputError, match="make pretrain VARIANT=best PROTOCOL=mini SEED=3"):
        sources.of_recipe("best", tmp_path, "mini", 3)


def test_a_recipes_checkpoint_is_found(tmp_path: Path):
    path = tmp_path / "mini" / "pretrain" / "best" / "seed3" / "backbone.safetensors"
    path.parent.mkdir(parents=True)
    path.touch()
    assert sources.of_recipe("best", tmp_path, "mini", 3) == path


# ---- random:


def test_random_weights_follow_the_seed(tmp_path: Path, raw: Callable):
    paths = [
        sources.exchange_of(f"random:{ARCH}", tmp_path / str(i), "demo", seed)
        for i, seed in enumerate((7, 7, 8))
    ]
    first, again, other = (backbone.load(path) for path in paths)
    assert first.sha256 == again.sha256
    assert first.sha256 != other.sha256
    assert _equal(raw(paths[0])[0], raw(paths[1])[0])
    weight = "layer2.0.conv1.weight"
    assert not torch.equal(raw(paths[0])[0][weight], raw(paths[2])[0][weight])
    assert (first.about.pretrained, first.about.seed, first.about.architecture) == (False, 7, ARCH)


def test_random_takes_the_protocols_stand_in(tmp_path: Path):
    path = sources.exchange_of("random:resnet50d", tmp_path, "demo", 0)
    assert backbone.load(path).about.architecture == ARCH


# ---- file:


def _write_plain(tensors: dict[str, torch.Tensor], folder: Path) -> Path:
    save_file(tensors, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def _write_torch(wrap: Callable[[dict], Any], name: str = "weights.pth") -> Callable:
    def write(tensors: dict[str, torch.Tensor], folder: Path) -> Path:
        torch.save(wrap(tensors), folder / name)
        return folder / name

    return write


WRITERS = {
    "safetensors": _write_plain,
    "bare": _write_torch(lambda t: t),
    "state_dict": _write_torch(lambda t: {"state_dict": t, "epoch": 3}),
    "model": _write_torch(lambda t: {"model": t, "args": {"lr": 0.1}}),
    "module": _write_torch(lambda t: {f"module.{k}": v for k, v in t.items()}),
    "both": _write_torch(lambda t: {"state_dict": {f"module.{k}": v for k, v in t.items()}}),
    "zipless": _write_torch(lambda t: t, "weights.bin"),
}


@pytest.mark.parametrize("form", WRITERS)
def test_forms_of_a_file(form: str, tmp_path: Path, raw: Callable):
    expected = _named()
    source = WRITERS[form](expected, tmp_path)
    path = sources.exchange_of(f"file:{source},arch={ARCH}", tmp_path / "out", "demo", 0)
    tensors, metadata = raw(path)
    assert _equal(tensors, expected)
    assert json.loads(metadata["classes"]) == 5
    assert json.loads(metadata["pretrained"]) is True


def test_a_file_without_a_classifier_is_complete(tmp_path: Path, raw: Callable):
    expected = {k: v for k, v in _named().items() if not k.startswith("fc.")}
    source = _write_plain(expected, tmp_path)
    path = sources.exchange_of(f"file:{source},arch={ARCH}", tmp_path / "out", "demo", 0)
    tensors, metadata = raw(path)
    assert json.loads(metadata["classes"]) == 1
    assert set(tensors) - set(expected) == {"fc.weight", "fc.bias"}
    assert _equal({k: tensors[k] for k in expected}, expected)


def test_an_exchange_file_knows_its_architecture(exchange: Callable, tmp_path: Path):
    source = exchange()
    assert sources.exchange_of(f"file:{source}", tmp_path / "out", "demo", 0) == source


def test_a_foreign_file_without_arch_is_told_to_name_it(tmp_path: Path):
    source = _write_plain(_named(), tmp_path)
    with pytest.raises(InputError, match=r"say file:.*,arch=NAME"):
        sources.exchange_of(f"file:{source}", tmp_path / "out", "demo", 0)


class _Anything:
    """Something that a checkpoint of tensors does not need."""


def test_a_file_that_would_run_code_is_refused_with_the_reason(tmp_path: Path):
    torch.save({"state_dict": _named(), "args": _Anything()}, tmp_path / "a.pth")
    with pytest.raises(
        InputError, match=r"not a readable checkpoint.*Unsupported global.*_Anything"
    ):
        sources.exchange_of(f"file:{tmp_path / 'a.pth'},arch={ARCH}", tmp_path, "demo", 0)


def test_missing_files_are_named(tmp_path: Path):
    for spec in ("file:none.safetensors", f"file:none.pth,arch={ARCH}"):
        with pytest.raises(InputError, match=r"none\.\w+: no such checkpoint"):
            sources.exchange_of(spec, tmp_path, "demo", 0)


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.ones(2)], {"a": torch.ones(2), "b": 1}])
def test_a_file_of_other_things_is_refused(content: Any, tmp_path: Path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InputError, match="expected a state dict of tensors"):
        sources.read_tensors(tmp_path / "a.pth")


def test_names_that_are_no_strings_do_not_fit(tmp_path: Path):
    torch.save({0: torch.ones(2)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="0 is not in the model"):
        sources.exchange_of(f"file:{tmp_path / 'a.pth'},arch={ARCH}", tmp_path, "demo", 0)


@pytest.mark.parametrize("form", ["safetensors", "bare"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files_are_refused(form: str, part: float, tmp_path: Path):
    source = WRITERS[form](_named(), tmp_path)
    content = source.read_bytes()
    source.write_bytes(content[: int(part * len(content))])
    with pytest.raises(InputError, match="not a readable"):
        sources.read_tensors(source)


def test_damaged_torch_files_are_refused_whatever_torch_raises(tmp_path: Path):
    # the old format is a bare pickle, where torch raises IndexError, struct.error and others
    path = tmp_path / "a.pth"
    torch.save({"a": torch.ones(9)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    for length in range(0, len(content) - 40, 7):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="not a readable"):
            sources.read_tensors(path)


# ---- timm:


def test_without_a_network_the_message_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise OSError("We couldn't connect to the hub\nand a long explanation")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(InputError) as caught:
        sources.exchange_of("timm:resnet50.a1_in1k", tmp_path, "demo", 0)
    message = str(caught.value)
    assert "\n" not in message
    assert "(We couldn't connect to the hub)" in message
    assert "Without a network" in message
    assert "file:PATH,arch=resnet50" in message


def test_timms_weights_bring_their_own_preprocessing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    original, asked = timm.create_model, []

    def without_download(name: str, pretrained: bool = False, **kwargs: Any) -> torch.nn.Module:
        asked.append((name, pretrained))
        return original(name, pretrained=False, **kwargs)

    monkeypatch.setattr(timm, "create_model", without_download)
    name = "tf_mobilenetv3_small_minimal_100.in1k"
    path = sources.exchange_of(f"timm:{name}", tmp_path, "demo", 0)
    assert asked[0] == (name, True)
    about = backbone.load(path).about
    # timm's page for this model: inception's mean and deviation, 224 pixels, 87.5 %, bilinear
    assert about.mean == about.std == (0.5, 0.5, 0.5)
    assert (about.resolution, about.crop_ratio, about.interpolation) == (224, 0.875, "bilinear")
    assert (about.classes, about.pretrained) == (1000, True)


# ---- strict, or it raises


def test_a_whole_file_is_loaded_whole(exchange: Callable, raw: Callable):
    path = exchange()
    assert _equal(backbone.load(path).model.state_dict(), raw(path)[0])


@pytest.mark.parametrize("name", TENSORS)
def test_one_misnamed_tensor_is_refused_everywhere(
    name: str, exchange: Callable, rename_tensor: Callable
):
    path = exchange()
    rename_tensor(path, name, f"{name}_")
    expected = rf"2 tensors: {name} is not in the checkpoint; {name}_ is not in the model"
    for use in (backbone.load, backbone.TimmFeatures, backbone.TimmLastStage):
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
            backbone.load(path)
        path.write_bytes(content)


def test_another_architecture_is_refused(exchange: Callable):
    path = exchange(tensors=_named("resnet18d_narrow", 3))
    with pytest.raises(InputError, match=r"layer1\.1\.conv1\.weight is not in the model"):
        backbone.load(path)
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
        backbone.load(exchange(tensors=tensors))


def test_an_output_stride_that_an_architecture_has_not(exchange: Callable):
    with pytest.raises(InputError, match="cannot be built with"):
        backbone.load(exchange("vit_tiny_patch16_224"), output_stride=8)


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
    # the last check before training: what stands in the detector is what the file says
    path = exchange()
    model = torch.nn.Sequential(
        backbone.TimmFeatures(str(path), out_levels=(-2,)), backbone.TimmLastStage(str(path))
    )
    count, unused = backbone.account(model, path)
    whole = timm.create_model(ARCH, num_classes=3).state_dict()
    assert unused == ["fc.bias", "fc.weight"]
    assert count == len(whole) - 2
    with torch.no_grad():
        model[1].layer4[0].bn1.weight[3] += 1e-3
    with pytest.raises(InputError, match=r": 1 of the model.* not .*: layer4\.0\.bn1\.weight$"):
        backbone.account(model, path)


def test_a_layer_that_is_in_no_part_is_noticed(exchange: Callable):
    path = exchange()
    with pytest.raises(InputError, match=r"layer4\.0\.conv1\.weight"):
        backbone.account(backbone.TimmFeatures(str(path), out_levels=(-2,)), path)


def test_task_names_keep_the_choices_apart():
    def name(**given: Any) -> str:
        return task_name(argparse.Namespace(limit=None, **given))

    assert name(stage="detect", detector=None, dataset=None) == "detect"
    assert name(stage="detect", detector="fpn", dataset=None) == "detect-fpn"
    assert name(stage="detect", detector=None, dataset="bccd") == "detect-bccd"
    assert name(stage="segment", dataset=None) == "segment"
    assert name(stage="probe", mode="linear", dataset="cifar10") == "linear-cifar10"


def test_an_architecture_without_a_pyramid_is_refused():
    with pytest.raises(InputError, match="gives no pyramid of features"):
        backbone.levels(torch.nn.Linear(2, 2))


def test_the_last_stage_is_a_resnets(exchange: Callable):
    with pytest.raises(InputError, match=r"regnety_002 has no layer4 .*DETECTOR=fpn"):
        backbone.TimmLastStage(str(exchange("regnety_002")))


def test_what_no_task_uses(exchange: Callable):
    # timm's efficientnet has a 1 x 1 convolution between its last level and its classifier
    about = backbone.load(exchange("efficientnet_b0")).about
    unused = backbone.unused_by_features(about)
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = ["classifier.weight", "classifier.bias", "conv_head.weight"]
    assert unused == sorted([*expected, *(f"bn2.{part}" for part in norm)])


def test_the_classifiers_name_is_the_architectures():
    assert models.classifier(models.create("efficientnet_b0", 2)) == "classifier"
