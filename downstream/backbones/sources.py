"""Turns a user's backbone specification into an exchange file, which all tasks read.

Every tensor of a foreign file must match a tensor of timm's model or belong to a part that is no
classification network, such as a detector's neck; those are listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from safetensors.torch import load as load_safetensors
from timm.models.resnet import ResNet
from torch import Tensor, nn

from core import configs, exchange, record
from core.errors import InputError, unknown
from core.exchange import Exchange
from core.execution import Run
from core.record import RecordError
from core.runtime import distributed
from core.studies.graph import WEIGHTS
from downstream.backbones.tensor_names import timm_names
from pretrain import recipe
from pretrain.model import architectures, initialisation
from pretrain.model.architectures import TimmModel

KINDS = "random:NAME, timm:NAME, torchvision:NAME/WEIGHTS or file:PATH,arch=NAME"
FILE_OPTIONS = ("arch", "key", "channels", "mean", "std")
# keys under which training code saves a state dict
WRAPPERS = ("state_dict", "model", "model_ema", "state_dict_ema")


def of_pretraining(run: Run) -> Path:
    """The exchange file of a pretraining run, with the weights that its record names.

    Raises:
        InputError: no such recipe, its run has not finished, or the file is damaged.
    """
    if (path := run.out / WEIGHTS).is_file():
        check_against_record(path)
        return path
    variant, dataset = run.choices.variant or "", run.choices.dataset
    if variant not in (known := configs.names("pretrain")):
        raise InputError(f"{unknown('recipe', variant, known)}; other backbones are {KINDS}")
    on = f" DATASET={dataset}" if dataset else ""
    raise InputError(
        f"{run.row} has no checkpoint yet ({path}): "
        f"make pretrain VARIANT={run.row}{on} PROTOCOL={run.protocol} SEED={run.seed}"
    )


def check_against_record(path: Path) -> None:
    """Compares the weights of a pretraining with its record, where that lies beside them.

    Raises:
        InputError: they differ, or either cannot be read.
    """
    if not (beside := path.with_name("record.json")).is_file():
        return
    try:
        expected = record.read(beside).backbone.sha256
    except RecordError as error:
        raise InputError(str(error)) from error
    actual = exchange.weights_sha256(exchange.load_exchange(path)[0])
    if actual != expected:
        raise InputError(
            f"{path}: weights {actual[:12]}, its record has {expected[:12]}: restore the file, or "
            f"remove it and run the pretraining again"
        )


@dataclass(frozen=True)
class ImportedBackbone:
    """A backbone as a whole timm model, and how its tensors were mapped.

    Attributes:
        data: `mean`, `std` of RGB in [0, 1], `input_size`, `crop_pct` and `interpolation`, as in
            timm's data config.
        renamed: maps the source's tensor names to timm's.
        left_out: the source's tensors that do not belong to the classification network.
        added: timm's tensors that the source lacks: batch counters, and the classifier.
        difference: the largest difference between the logits of the source library's model and
            timm's on the same image; None if the library's model cannot be built.
    """

    model: TimmModel
    architecture: str
    pretrained: bool
    data: dict[str, Any]
    renamed: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    difference: float | None = None


def exchange_of(spec: str, out: Path, protocol: str, seed: int) -> Path:
    """The exchange file that a specification names, or one written to `out`.

    Raises:
        InputError: as `import_backbone` does.
    """
    if (path := exchange_file(spec)) is not None:
        return path
    backbone = import_backbone(spec, protocol, seed)
    if distributed.env_rank() == 0:
        print(f"{spec}: {summary(backbone)}", flush=True)
    return write(backbone, spec, out, protocol, seed)


def exchange_file(spec: str) -> Path | None:
    """The exchange file that `file:PATH` names, checked; None for other specifications.

    Raises:
        InputError: not an exchange file, or its tensors do not match its architecture.
    """
    kind, _, rest = spec.partition(":")
    if kind != "file" or not rest or "," in rest:
        return None
    tensors, about = exchange.load_exchange(Path(rest))
    architectures.load_strictly(architectures.create(about.architecture, about.classes), tensors)
    return Path(rest)


def import_backbone(spec: str, protocol: str, seed: int) -> ImportedBackbone:
    """The backbone of a specification.

    Args:
        spec: `random:NAME` (initialised from `seed`), `timm:NAME` (timm's weights),
            `torchvision:NAME/WEIGHTS` (torchvision's), or `file:PATH,arch=NAME`: safetensors or a
            torch checkpoint with tensor names that `tensor_names` knows. `key=NAME` chooses one of
            several state dicts. For a file, timm's preprocessing of the architecture is assumed,
            unless the specification has `mean=R/G/B`, `std=R/G/B` (pixels from 0 to 255) or
            `channels=bgr`, or the file is an exchange file, which records its own.

    Raises:
        InputError: an unknown kind or architecture, weights that are not available, or tensors
            that do not fit.
    """
    kind, colon, rest = spec.partition(":")
    if not colon or not rest:
        raise InputError(f"backbone {spec!r} is none of {KINDS}")
    if kind == "random":
        return _random(configs.read_protocol(protocol).architectures.get(rest, rest), seed)
    if kind == "timm":
        return _from_timm(rest)
    if kind == "torchvision":
        return _from_torchvision(rest)
    if kind == "file":
        path, *words = rest.split(",")
        return _from_file(Path(path), _file_options(spec, words))
    raise InputError(f"backbone {spec!r} is none of {KINDS}")


def write(backbone: ImportedBackbone, spec: str, out: Path, protocol: str, seed: int) -> Path:
    """Writes a backbone's exchange file below `out`, and returns its path."""
    about = Exchange(
        architecture=backbone.architecture,
        classes=int(backbone.model.num_classes),
        mean=tuple(backbone.data["mean"]),
        std=tuple(backbone.data["std"]),
        resolution=backbone.data["input_size"][-1],
        crop_ratio=backbone.data["crop_pct"],
        interpolation="bicubic" if backbone.data["interpolation"] == "bicubic" else "bilinear",
        pretrained=backbone.pretrained,
        recipe=spec,
        protocol=protocol,
        seed=seed,
        dataset="",
        record_sha256="",
    )
    path = out / "backbone.safetensors"
    exchange.save_exchange(path, backbone.model.state_dict(), about)
    return path


def _random(arch: str, seed: int) -> ImportedBackbone:
    torch.manual_seed(seed)
    model = architectures.create(arch, classes=1)
    # ResNets as the recipes with zero gamma start (see docs/choices.md); others keep timm's own
    # start, for the text's Xavier makes an EfficientNet's features vanish
    if isinstance(model, ResNet):
        initialisation.initialise(model, xavier=True, zero_gamma=True)
    ours = recipe.from_config(configs.read("pretrain", "b-standard"), "b-standard")
    preprocessing = dict(mean=ours.mean, std=ours.std, interpolation=ours.interpolation)
    data = timm.data.resolve_data_config({}, model=model) | preprocessing
    return ImportedBackbone(model, arch, pretrained=False, data=data)


def _from_timm(name: str) -> ImportedBackbone:
    if not timm.is_model(name):
        raise unknown("architecture", name, timm.list_models())
    arch = name.partition(".")[0]
    known = [n for n in timm.list_pretrained(f"{arch}*") if n.partition(".")[0] == arch]
    if not known:
        raise InputError(f"timm has no weights of {arch}: random:{arch}, or file:PATH,arch={arch}")
    if name != arch and name not in known:
        raise unknown("weights of timm's", name, known)
    try:
        model = timm.create_model(name, pretrained=True)
    except Exception as error:  # the hub's client raises many types when it has no connection
        raise _unavailable(f"timm:{name}", error, arch) from error
    return ImportedBackbone(model, name, True, timm.data.resolve_data_config({}, model=model))


def _unavailable(spec: str, error: Exception, arch: str) -> InputError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return InputError(
        f"{spec}: its weights are not in the local cache and cannot be downloaded ({reason}). "
        f"Without a network, copy the file here and use file:PATH,arch={arch}"
    )


def _from_torchvision(rest: str) -> ImportedBackbone:
    name, _, chosen = rest.partition("/")
    spec = f"torchvision:{rest}"
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise unknown("architecture of torchvision", name, known)
    if not timm.is_model(name):
        raise InputError(
            f"{spec}: timm has no architecture of this name; both libraries have ResNet, ResNeXt, "
            f"Wide ResNet and DenseNet"
        )
    weights = torchvision.models.get_model_weights(name)
    if chosen not in weights.__members__:
        raise unknown(f"weights of torchvision's {name}", chosen, weights.__members__)
    try:
        theirs = torchvision.models.get_model(name, weights=chosen)
    except Exception as error:  # no network, a full disk, a damaged download
        raise _unavailable(spec, error, name) from error
    return from_torchvision_model(theirs, name, weights[chosen].transforms(), spec)


def from_torchvision_model(
    theirs: nn.Module, name: str, transforms: Any, spec: str
) -> ImportedBackbone:
    """The timm model with a torchvision model's weights, after comparing their logits.

    Args:
        transforms: torchvision's preset of the weights: mean, std, crop and resize sizes.

    Raises:
        InputError: timm's model of that name has other tensors, or other logits.
    """
    fitted = _fitted(dict(theirs.state_dict()), name, spec)
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = (theirs.eval()(pixels) - fitted.model.eval()(pixels)).abs().max().item()
    if not difference < 1e-3:
        raise InputError(
            f"{spec}: timm's {name} with the same tensors has other logits (largest difference "
            f"{difference:.3g}, expected below 0.001)"
        )
    data: dict[str, Any] = dict(
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        input_size=(3, *2 * transforms.crop_size),
        crop_pct=transforms.crop_size[0] / transforms.resize_size[0],
        interpolation=transforms.interpolation.value,
    )
    return replace(fitted, data=data, difference=difference)


def _file_options(spec: str, words: list[str]) -> dict[str, str]:
    options = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in FILE_OPTIONS or key in options:
            raise InputError(
                f"backbone {spec!r}: {word!r} is not of the form arch=NAME, key=model_ema, "
                f"channels=bgr, mean=R/G/B or std=R/G/B, each at most once"
            )
        options[key] = value
    if "arch" not in options:
        raise InputError(f"backbone {spec!r}: name its architecture with arch=NAME")
    if options.get("channels", "rgb") not in ("rgb", "bgr"):
        raise InputError(f"backbone {spec!r}: channels are rgb or bgr")
    return options


def _from_file(path: Path, options: dict[str, str]) -> ImportedBackbone:
    tensors = read_tensors(path, options.get("key"))
    backbone = _fitted(tensors, options["arch"], str(path))
    data = backbone.data | _preprocessing(path)
    data |= {key: _mean_or_std(key, options[key]) for key in ("mean", "std") if key in options}
    if options.get("channels") == "bgr":
        reverse_channels(backbone.model)
    return replace(backbone, data=data)


def _preprocessing(path: Path) -> dict[str, Any]:
    """The preprocessing that an exchange file records; empty for other files."""
    if path.suffix != ".safetensors":
        return {}
    if exchange.read_metadata(path).get("format") != exchange.FORMAT:
        return {}
    about = exchange.read_about(path)
    return dict(
        mean=about.mean,
        std=about.std,
        input_size=(3, about.resolution, about.resolution),
        crop_pct=about.crop_ratio,
        interpolation=about.interpolation,
    )


def _mean_or_std(key: str, text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split("/"))
    except ValueError:
        values = ()
    lowest = 1 if key == "std" else 0
    # refuse means of pixels from 0 to 1, such as 0.485: they would mean nearly black
    if len(values) != 3 or not all(v == 0 == lowest or 1 <= v <= 255 for v in values):
        raise InputError(
            f"{key}={text}: expected three numbers of pixels from 0 to 255, as 123.7/116.3/103.5"
        )
    return tuple(value / 255 for value in values)


def reverse_channels(model: TimmModel) -> None:
    """Converts a model from BGR to RGB input by flipping the weights of its first convolutions.

    Raises:
        InputError: its first layers are no convolutions of three channels.
    """
    names = model.pretrained_cfg["first_conv"]
    for name in (names,) if isinstance(names, str) else names:
        convolutions = (m for m in model.get_submodule(name).modules() if isinstance(m, nn.Conv2d))
        first = next(convolutions, None)
        if first is None or first.in_channels != 3:
            raise InputError(
                f"channels=bgr: the first layer of {type(model).__name__} is no convolution of "
                f"three channels"
            )
        first.weight.data = first.weight.data.flip(1).contiguous()


def _fitted(tensors: dict[str, Tensor], arch: str, spec: str) -> ImportedBackbone:
    """The timm model with these tensors, and how each was mapped.

    A file without a classifier gets one of zeros with one class, because no task uses it. Missing
    batch counters, which nothing reads, start at 0.

    Raises:
        InputError: a tensor is missing, unexpected, duplicated, or of another shape or type.
    """
    blank = architectures.create(arch, classes=1)
    classifier = architectures.classifier(blank)
    renamed, left_out = timm_names(tensors, blank.state_dict())
    twice = sorted(name for name, count in Counter(renamed.values()).items() if count > 1)
    if twice:
        raise InputError(f"{spec} as {arch}: several tensors for {', '.join(twice)}")
    kept = {new: tensors[old] for old, new in renamed.items()}
    weight = kept.get(f"{classifier}.weight")
    model = blank if weight is None else architectures.create(arch, len(weight))
    own = model.state_dict()
    added = [
        name
        for name in own
        if name not in kept
        and (
            name.endswith(".num_batches_tracked")
            or (weight is None and name.startswith(f"{classifier}."))
        )
    ]
    kept |= {name: torch.zeros_like(own[name]) for name in added}
    numbers = [n for n in own if n in kept and own[n].dtype.is_floating_point]
    if quantised := [n for n in numbers if not kept[n].dtype.is_floating_point]:
        raise InputError(
            f"{spec} as {arch}: expected floating-point tensors, found others: "
            f"{', '.join(quantised)}"
        )
    try:
        architectures.load_strictly(model, kept)
    except InputError as error:
        raise InputError(f"{spec} as {arch}: {error}") from error
    data = timm.data.resolve_data_config({}, model=model)
    return ImportedBackbone(model, arch, True, data, renamed, left_out, added)


def read_tensors(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file or a torch checkpoint.

    Args:
        key: of the state dict, if the file has several.

    Raises:
        InputError: no such file, an unreadable one, a torch file that pickles other objects, or
            several state dicts and no `key`.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    if path.suffix == ".safetensors":
        exchange.read_metadata(path)  # raises if the file is damaged
        return load_safetensors(path.read_bytes())
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a damaged or foreign file
        # keep the line with the reason, drop torch's long advice
        reason = str(error).rpartition("WeightsUnpickler error: ")[2].strip().partition("\n")[0]
        raise InputError(
            f"{path}: not a readable checkpoint of tensors ({type(error).__name__}: {reason}). If "
            f"you trust it, load it with torch and save only its state dict to a new file"
        ) from error
    content = _unwrapped(content, key, path)
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(
            f"{path}: expected a state dict of tensors, found {type(content).__name__}"
        )
    return {str(name): tensor for name, tensor in content.items()}


def _unwrapped(content: Any, key: str | None, path: Path) -> Any:
    known = content if isinstance(content, Mapping) else {}
    found = [name for name in WRAPPERS if isinstance(known.get(name), Mapping)]
    if key is not None:
        if not isinstance(known.get(key), Mapping):
            raise unknown(f"state dict of {path}", key, found)
        return content[key]
    if len(found) > 1:
        choices = " or ".join(f"key={name}" for name in found)
        raise InputError(f"{path}: it has several state dicts: choose one with {choices}")
    return content[found[0]] if found else content


def explain(backbone: ImportedBackbone) -> str:
    """A line for each tensor that was renamed, left out or added, and the summary."""
    moved = {old: new for old, new in backbone.renamed.items() if old != new}
    lines = [f"{old} -> {new}" for old, new in moved.items()]
    lines += [f"{name} left out: not in the classification network" for name in backbone.left_out]
    lines += [f"{name} added: the source lacks it, set to 0" for name in backbone.added]
    return "\n".join([*lines, summary(backbone)])


def summary(backbone: ImportedBackbone) -> str:
    """One line: how many tensors were kept, renamed, added and left out; the logits' difference."""
    tensors = len(backbone.model.state_dict())
    if not backbone.renamed:
        return f"{backbone.architecture}, {tensors} tensors"
    kept = sum(old == new for old, new in backbone.renamed.items())
    logits = (
        ""
        if backbone.difference is None
        else f"; largest difference of the logits from the source's {backbone.difference:.3g}"
    )
    return (
        f"{backbone.architecture}, {tensors} tensors: {kept} with the same name, "
        f"{len(backbone.renamed) - kept} renamed, {len(backbone.added)} added; "
        f"{len(backbone.left_out)} of the source left out{logits}"
    )
