"""Backbone specifications and the exchange files they give."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from core import record
from core.choices import Choices
from core.errors import InputError
from core.exchange import Exchange
from core.execution import Run
from core.tasks import TASKS
from downstream.backbones import sources, timm_features

ARCH = "resnet10d_narrow"


def _named(arch: str = ARCH, classes: int = 5, seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return timm.create_model(arch, num_classes=classes).state_dict()


def _equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in expected
    )


def _import(spec: str, folder: Path) -> Path:
    return sources.exchange_of(spec, folder, "demo", 0)


# ---- specifications


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


def _pretraining(runs: Path, variant: str) -> Run:
    return Run(TASKS["pretrain"], Choices(variant=variant), "mini", 3, runs, Path("data"))


def test_a_recipe_without_a_checkpoint_names_the_command(tmp_path: Path):
    with pytest.raises(InputError, match="make pretrain VARIANT=best PROTOCOL=mini SEED=3"):
        sources.of_pretraining(_pretraining(tmp_path, "best"))


def test_a_misspelt_recipe_is_offered_the_nearest(tmp_path: Path):
    with pytest.raises(InputError, match=r"unknown recipe 'smoth': did you mean smooth"):
        sources.of_pretraining(_pretraining(tmp_path, "smoth"))


@pytest.mark.parametrize("row", ["best", "best-lr-0.2"])
def test_the_checkpoint_of_a_pretraining_is_found_by_its_row(row: str, tmp_path: Path):
    path = tmp_path / "mini" / "pretrain" / row / "seed3" / "backbone.safetensors"
    path.parent.mkdir(parents=True)
    path.touch()
    assert sources.of_pretraining(_pretraining(tmp_path, row)) == path


def test_other_weights_than_the_records_are_refused(
    tmp_path: Path, exchange: Callable, make: Callable
):
    """Such as those of another run, whole in themselves."""
    run = _pretraining(tmp_path, "best")
    path = exchange(path=run.out / "backbone.safetensors")
    made = make(protocol="mini", seed=3)
    own = made.backbone.model_copy(update={"sha256": timm_features.load(path).sha256})
    record.write(made.model_copy(update={"backbone": own}), run.out / "record.json")
    assert sources.of_pretraining(run) == path

    exchange(path=path, seed=1)
    with pytest.raises(InputError, match=r"weights \w{12}, its record has \w{12}: restore"):
        sources.of_pretraining(run)


@pytest.mark.parametrize("arch", ["efficientnet_b0", "regnety_002", "resnet18d"])
def test_random_features_do_not_vanish(arch: str, tmp_path: Path):
    """EfficientNet-B0's deviate by 2e-5; with Xavier by channels alone it was 6e-13."""
    loaded = timm_features.load(_import(f"random:{arch}", tmp_path))
    pixels = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = loaded.model.eval().forward_features(pixels)
    assert features.std() > 1e-6


# ---- random:


def test_random_weights_follow_the_seed(tmp_path: Path, raw: Callable):
    paths = [
        sources.exchange_of(f"random:{ARCH}", tmp_path / str(i), "demo", seed)
        for i, seed in enumerate((7, 7, 8))
    ]
    first, again, other = (timm_features.load(path) for path in paths)
    assert first.sha256 == again.sha256
    assert first.sha256 != other.sha256
    assert _equal(raw(paths[0])[0], raw(paths[1])[0])
    weight = "layer2.0.conv1.weight"
    assert not torch.equal(raw(paths[0])[0][weight], raw(paths[2])[0][weight])
    assert (first.about.pretrained, first.about.seed, first.about.architecture) == (False, 7, ARCH)


def test_random_takes_the_protocols_stand_in(tmp_path: Path):
    path = sources.exchange_of("random:resnet50d", tmp_path, "demo", 0)
    assert timm_features.load(path).about.architecture == ARCH


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
    "model_ema": _write_torch(
        lambda t: {
            "model": None,
            "model_ema": {"n_averaged": torch.tensor(3)} | {f"module.{k}": v for k, v in t.items()},
        }
    ),
    "state_dict_ema": _write_torch(lambda t: {"state_dict_ema": t}),
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
    """An object that does not belong in a checkpoint of tensors."""


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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda: timm.create_model(ARCH, num_classes=2), "Unsupported global.*ResNet"),
        (lambda: {"model": _named(), "args": argparse.Namespace(lr=1)}, "Unsupported.*Namespace"),
    ],
)
def test_pickled_objects_are_refused_with_the_reason(
    content: Callable[[], Any], reason: str, tmp_path: Path
):
    torch.save(content(), tmp_path / "a.pth")
    with pytest.raises(InputError, match=rf"{reason}.*save only its state dict"):
        sources.read_tensors(tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore:.*TorchScript")
def test_compiled_programs_are_refused_with_the_reason(tmp_path: Path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"not a readable checkpoint.*TorchScript"):
        sources.read_tensors(tmp_path / "a.pth")


# ---- timm: and torchvision:


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
    about = timm_features.load(path).about
    # timm's page for this model: inception's mean and deviation, 224 pixels, 87.5 %, bilinear
    assert about.mean == about.std == (0.5, 0.5, 0.5)
    assert (about.resolution, about.crop_ratio, about.interpolation) == (224, 0.875, "bilinear")
    assert (about.classes, about.pretrained) == (1000, True)


@pytest.mark.parametrize("arch", [ARCH, "resnet50_v1", "seresnet18"])
def test_an_architecture_without_weights_is_not_taken_for_pretrained(arch: str, tmp_path: Path):
    with pytest.raises(InputError, match=f"timm has no weights of {arch}: random:{arch}, or file:"):
        _import(f"timm:{arch}", tmp_path)


def test_misspelt_weights_of_timm_are_offered_the_nearest(tmp_path: Path):
    with pytest.raises(InputError, match=r"'resnet50.a1_in1': did you mean resnet50\.a1_in1k"):
        _import("timm:resnet50.a1_in1", tmp_path)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet50/IMAGENET1K_V3", "weights of torchvision's resnet50.*did you mean IMAGENET1K_V"),
        ("resnet50", "weights of torchvision's resnet50 '': there are: DEFAULT, IMAGENET1K_V1"),
        ("resnet5/DEFAULT", "unknown architecture of torchvision 'resnet5': did you mean resnet"),
        ("shufflenet_v2_x1_0/DEFAULT", "timm has no architecture of this name.*ResNeXt"),
    ],
)
def test_what_torchvision_does_not_have(spec: str, message: str, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        _import(f"torchvision:{spec}", tmp_path)


def test_torchvision_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise OSError("<urlopen error [Errno -2] Name or service not known>")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    with pytest.raises(
        InputError,
        match=r"torchvision:resnet18/IMAGENET1K_V1: .*Name or service not known.*"
        r"Without a network, copy the file here and use file:PATH,arch=resnet18",
    ):
        _import("torchvision:resnet18/IMAGENET1K_V1", tmp_path)


def test_torchvisions_weights_bring_their_own_preprocessing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, raw: Callable
):
    original = torchvision.models.get_model
    theirs = original("resnet18", weights=None)
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights: theirs)
    path = _import("torchvision:resnet18/DEFAULT", tmp_path)
    assert _equal(raw(path)[0], theirs.state_dict())
    about = timm_features.load(path).about
    # torchvision's page of these weights: resized to 256, cropped to 224, bilinear
    assert (about.mean, about.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (about.resolution, about.crop_ratio) == (224, 0.875)
    assert (about.interpolation, about.recipe) == ("bilinear", "torchvision:resnet18/DEFAULT")


# ---- preprocessing of the weights


def _pixels(size: int = 64) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("arch", [ARCH, "resnet10_narrow", "efficientnet_b0", "convnext_atto"])
@torch.no_grad()
def test_bgr_weights_are_turned_to_rgb(arch: str, tmp_path: Path, randomised: Callable):
    torch.manual_seed(2)
    theirs = randomised(timm.create_model(arch, num_classes=4), 2).eval()
    source = _write_plain(theirs.state_dict(), tmp_path)
    path = _import(f"file:{source},arch={arch},channels=bgr", tmp_path / "out")
    ours = timm_features.load(path).model.eval()
    rgb = _pixels()
    bgr = rgb[:, [2, 1, 0]]
    difference = (ours(rgb) - theirs(bgr)).abs().max().item()
    assert difference < 1e-5
    assert (ours(rgb) - theirs(rgb)).abs().max().item() > 30 * max(difference, 1e-6)
    changed = {
        n for n, t in theirs.state_dict().items() if not torch.equal(t, ours.state_dict()[n])
    }
    first = {ARCH: "conv1.0", "resnet10_narrow": "conv1", "convnext_atto": "stem.0"}
    assert changed == {f"{first.get(arch, 'conv_stem')}.weight"}


def test_channels_of_a_model_without_a_first_convolution(tmp_path: Path):
    model = timm.create_model(ARCH, num_classes=2)
    model.pretrained_cfg = {"first_conv": "fc"}
    with pytest.raises(InputError, match="channels=bgr: the first layer of ResNet is no conv"):
        sources.reverse_channels(model)


def _about(options: str, tmp_path: Path) -> Exchange:
    source = _write_plain(_named(), tmp_path)
    return timm_features.load(
        _import(f"file:{source},arch={ARCH}{options}", tmp_path / "out")
    ).about


def test_mean_and_std_are_the_architectures_unless_given(tmp_path: Path):
    about = _about("", tmp_path)
    assert (about.mean, about.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    # mmdet's caffe models: only the mean is subtracted
    about = _about(",mean=123.675/116.28/103.53,std=1/1/1", tmp_path)
    assert about.mean == pytest.approx((0.485, 0.456, 0.406), abs=1e-12)
    assert about.std == pytest.approx((1 / 255,) * 3, abs=1e-15)
    about = _about(",std=51/102/255", tmp_path)
    assert (about.mean, about.std) == ((0.485, 0.456, 0.406), (0.2, 0.4, 1.0))
    assert _about(",mean=0/0/0", tmp_path).mean == (0, 0, 0)


@pytest.mark.parametrize(
    "option",
    [
        *("mean=1/2", "mean=a/b/c", "mean=", "std=0/1/1", "std=-1/1/1", "mean=nan/1/1"),
        *("mean=0.485/0.456/0.406", "std=0.229/0.224/0.225", "mean=1/2/256", "std=inf/1/1"),
    ],
)
def test_impossible_means_and_stds(option: str, tmp_path: Path):
    with pytest.raises(InputError, match="expected three numbers of pixels from 0 to 255"):
        _about(f",{option}", tmp_path)


def test_channels_are_rgb_or_bgr(tmp_path: Path):
    with pytest.raises(InputError, match="channels are rgb or bgr"):
        _about(",channels=grb", tmp_path)


def test_an_option_is_given_once(tmp_path: Path):
    with pytest.raises(InputError, match=r"'arch=resnet50' is not .* at most once"):
        _about(",arch=resnet50", tmp_path)


def test_an_exchange_file_keeps_its_preprocessing(exchange: Callable, tmp_path: Path):
    source = exchange(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), crop_ratio=0.9, resolution=72)
    path = _import(f"file:{source},arch={ARCH}", tmp_path / "out")
    first, again = timm_features.load(source), timm_features.load(path)
    assert path != source
    assert again.sha256 == first.sha256
    for key in ("mean", "std", "crop_ratio", "resolution", "interpolation", "classes"):
        assert getattr(again.about, key) == getattr(first.about, key)
