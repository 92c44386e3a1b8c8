"""From what the user names a backbone by to an exchange file, which all tasks read.

Every tensor of a foreign file is accounted for: it has its place in timm's model, or it belongs to
another part than the network that classifies (a detector's neck), which is listed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from downstream.names import timm_names
from pretrain import checkpoint, models, recipe
from pretrain.checkpoint import Exchange
from pretrain.errors import InputError
from pretrain.models import TimmModel
from results import record

KINDS = "random:NAME, timm:NAME, torchvision:NAME/WEIGHTS or file:PATH,arch=NAME"
FILE_OPTIONS = ("arch", "channels", "mean", "std")


def label(variant: str | None, backbone: str | None) -> str:
    """The name of a backbone's row and folder: the recipe's, or the specification made a file name.

    Raises:
        InputError: both or neither were given.
    """
    if (variant is None) == (backbone is None):
        raise InputError("name one backbone: a recipe (VARIANT=best), or BACKBONE= with " + KINDS)
    if variant is not None:
        known = recipe.names("pretrain")
        # a recipe with another architecture or other settings has them behind its name
        if not any(variant == name or variant.startswith(f"{name}-") for name in known):
            raise recipe.unknown("recipe", variant, known)
        return variant
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", backbone or "")


def of_recipe(name: str, runs: Path, protocol: str, seed: int) -> Path:
    """The exchange file that a recipe's run left.

    Raises:
        InputError: the run has not finished yet.
    """
    path = record.run_folder(runs, protocol, "pretrain", name, seed) / "backbone.safetensors"
    if not path.is_file():
        raise InputError(
            f"{name} has no checkpoint yet ({path}): "
            f"make pretrain VARIANT={name} PROTOCOL={protocol} SEED={seed}"
        )
    return path


@dataclass(frozen=True)
class Found:
    """A backbone that was found, as a whole timm model.

    Attributes:
        data: `mean`, `std` of RGB in [0, 1], `input_size`, `crop_pct` and `interpolation`, as timm
            has them.
        renamed: the source's names of tensors, each with timm's.
        left_out: the source's tensors that are not of the network that classifies.
        difference: the largest between the logits of the source's own model and of timm's, on the
            same picture, where the source's own model can be built.
    """

    model: TimmModel
    architecture: str
    pretrained: bool
    data: dict[str, Any]
    renamed: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    difference: float | None = None


def exchange_of(spec: str, out: Path, protocol: str, seed: int) -> Path:
    """Turns a specification into an exchange file below `out`, or finds the file it names.

    Raises:
        InputError: as `find` does.
    """
    path = _exchange_file(spec)
    return (
        path if path is not None else write(find(spec, protocol, seed), spec, out, protocol, seed)
    )


def _exchange_file(spec: str) -> Path | None:
    """The exchange file that `file:PATH` names, once its tensors have been seen to fit.

    Raises:
        InputError: no exchange file, or its tensors are not its architecture's.
    """
    kind, _, rest = spec.partition(":")
    if kind != "file" or not rest or "," in rest:
        return None
    tensors, about = checkpoint.load_exchange(Path(rest))
    models.load_strictly(models.create(about.architecture, about.classes), tensors)
    return Path(rest)


def find(spec: str, protocol: str, seed: int) -> Found:
    """The backbone of a specification.

    Args:
        spec: `random:NAME` (freshly initialised from `seed`), `timm:NAME` (timm's own weights),
            `torchvision:NAME/WEIGHTS` (torchvision's), or `file:PATH,arch=NAME`: safetensors or a
            torch checkpoint in a style of `names`. A file is taken to have been trained with timm's
            preprocessing for the architecture, unless it says `mean=` and `std=` (of RGB from 0 to
            255, divided by slashes) or `channels=bgr`.

    Raises:
        InputError: another kind, an unknown architecture, weights that cannot be had, or tensors
            that do not fit.
    """
    kind, colon, rest = spec.partition(":")
    if not colon or not rest:
        raise InputError(f"backbone {spec!r} is none of {KINDS}")
    if kind == "random":
        return _random(recipe.read_protocol(protocol).architectures.get(rest, rest), seed)
    if kind == "timm":
        return _from_timm(rest)
    if kind == "torchvision":
        return _from_torchvision(rest)
    if kind == "file":
        path, *words = rest.split(",")
        return _from_file(Path(path), _file_options(spec, words))
    raise InputError(f"backbone {spec!r} is none of {KINDS}")


def write(found: Found, spec: str, out: Path, protocol: str, seed: int) -> Path:
    """The exchange file of a backbone that was found."""
    about = Exchange(
        architecture=found.architecture,
        classes=int(found.model.num_classes),
        mean=tuple(found.data["mean"]),
        std=tuple(found.data["std"]),
        resolution=found.data["input_size"][-1],
        crop_ratio=found.data["crop_pct"],
        interpolation="bicubic" if found.data["interpolation"] == "bicubic" else "bilinear",
        pretrained=found.pretrained,
        recipe=spec,
        protocol=protocol,
        seed=seed,
        dataset="",
        record_sha256="",
    )
    path = out / "backbone.safetensors"
    checkpoint.save_exchange(path, found.model.state_dict(), about)
    return path


def _random(arch: str, seed: int) -> Found:
    torch.manual_seed(seed)
    model = models.create(arch, classes=1)
    # what the recipes with zero gamma have at step 0 (docs/choices.md says what this does)
    models.initialise(model, xavier=True, zero_gamma=True)
    ours = recipe.from_config(recipe.read("pretrain", "b-standard"), "b-standard")
    moments = dict(mean=ours.mean, std=ours.std, interpolation=ours.interpolation)
    data = timm.data.resolve_data_config({}, model=model) | moments
    return Found(model, arch, pretrained=False, data=data)


def _from_timm(name: str) -> Found:
    if not timm.is_model(name):
        raise recipe.unknown("architecture", name, timm.list_models())
    try:
        model = timm.create_model(name, pretrained=True)
    except Exception as error:  # the hub's client has many ways to say that it cannot be reached
        raise _not_to_be_had(f"timm:{name}", error, name.partition(".")[0]) from error
    return Found(model, name, True, timm.data.resolve_data_config({}, model=model))


def _not_to_be_had(spec: str, error: Exception, arch: str) -> InputError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return InputError(
        f"{spec}: its weights are not in the local cache, nor to be downloaded ({reason}). Without "
        f"a network, copy them here and say file:PATH,arch={arch}"
    )


def _from_torchvision(rest: str) -> Found:
    name, _, chosen = rest.partition("/")
    spec = f"torchvision:{rest}"
    if name not in torchvision.models.list_models(module=torchvision.models):
        known = torchvision.models.list_models(module=torchvision.models)
        raise recipe.unknown("architecture of torchvision", name, known)
    weights = torchvision.models.get_model_weights(name)
    if chosen not in weights.__members__:
        raise recipe.unknown(f"weights of torchvision's {name}", chosen, weights.__members__)
    try:
        theirs = torchvision.models.get_model(name, weights=chosen)
    except Exception as error:  # no network, a full disk, a damaged download
        raise _not_to_be_had(spec, error, name) from error
    return from_torchvision_model(theirs, name, weights[chosen].transforms(), spec)


def from_torchvision_model(theirs: nn.Module, name: str, transforms: Any, spec: str) -> Found:
    """The timm model with the weights of one of torchvision's, and how far their logits differ.

    Args:
        transforms: torchvision's preset of the weights: mean, std, crop and resize sizes.

    Raises:
        InputError: timm's model of that name has other tensors, or computes something else.
    """
    model, renamed, left_out = _fitted(dict(theirs.state_dict()), name, spec)
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = (theirs.eval()(pixels) - model.eval()(pixels)).abs().max().item()
    if not difference < 1e-3:
        raise InputError(
            f"{spec}: with the same tensors timm's {name} computes something else (largest "
            f"difference of the logits {difference:.3g})"
        )
    data = dict(
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        input_size=(3, *2 * transforms.crop_size),
        crop_pct=transforms.crop_size[0] / transforms.resize_size[0],
        interpolation=transforms.interpolation.value,
    )
    return Found(model, name, True, data, renamed, left_out, difference)


def _file_options(spec: str, words: list[str]) -> dict[str, str]:
    options = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in FILE_OPTIONS:
            raise InputError(
                f"backbone {spec!r}: {word!r} is not of the form arch=NAME, channels=bgr, "
                f"mean=R/G/B or std=R/G/B"
            )
        options[key] = value
    if "arch" not in options:
        raise InputError(f"backbone {spec!r}: name its architecture with arch=NAME")
    if options.get("channels", "rgb") not in ("rgb", "bgr"):
        raise InputError(f"backbone {spec!r}: channels are rgb or bgr")
    return options


def _from_file(path: Path, options: dict[str, str]) -> Found:
    arch = options["arch"]
    model, renamed, left_out = _fitted(read_tensors(path), arch, str(path))
    data = timm.data.resolve_data_config({}, model=model)
    for key in ("mean", "std"):
        if key in options:
            data[key] = _moments(key, options[key])
    if options.get("channels") == "bgr":
        reverse_channels(model)
    return Found(model, arch, True, data, renamed, left_out)


def _moments(key: str, text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) / 255 for part in text.split("/"))
    except ValueError:
        values = ()
    if len(values) != 3:
        raise InputError(f"{key}={text}: expected three numbers from 0 to 255, as 124/116/104")
    return values


def reverse_channels(model: TimmModel) -> None:
    """Makes a model that was trained on BGR one for RGB, by its first convolution."""
    name = model.pretrained_cfg["first_conv"]
    first = model.get_submodule(name if isinstance(name, str) else name[0])
    first.weight.data = first.weight.data.flip(1).contiguous()


def _fitted(
    tensors: dict[str, Tensor], arch: str, spec: str
) -> tuple[TimmModel, dict[str, str], list[str]]:
    """The timm model with these tensors in it, their names beside timm's, and those left out.

    A file without a classifier is complete for every use here: it gets one of one class. Counters
    of batches, which nothing reads, start at 0 where a library does not keep them.
    """
    classifier = models.classifier(models.create(arch, classes=1))
    whole = models.create(arch, classes=1).state_dict()
    renamed, left_out = timm_names(tensors, whole)
    kept = {new: tensors[old] for old, new in renamed.items()}
    if len(kept) != len(renamed):
        twice = sorted(new for new in kept if list(renamed.values()).count(new) > 1)
        raise InputError(f"{spec} as {arch}: several tensors for {', '.join(twice)}")
    weight = kept.get(f"{classifier}.weight")
    model = models.create(arch, len(weight) if weight is not None else 1)
    for name, own in model.state_dict().items():
        fresh = name.startswith(f"{classifier}.") if weight is None else False
        if name not in kept and (fresh or name.endswith(".num_batches_tracked")):
            kept[name] = own
    try:
        models.load_strictly(model, kept)
    except InputError as error:
        raise InputError(f"{spec} as {arch}: {error}") from error
    return model, renamed, left_out


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a torch checkpoint, with wrappers taken off.

    Wrappers are the keys `state_dict`, `model`, `model_ema` and `state_dict_ema`, the averaged
    weights where a file has both only if it has no others.

    Raises:
        InputError: no such file, not readable, or a torch file that needs more than tensors.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    if path.suffix == ".safetensors":
        checkpoint.read_metadata(path)  # complains of a damaged file
        return load_safetensors(path.read_bytes())
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no one exception for a damaged or foreign file
        # of torch's advice on pickles that call functions, only the line with the reason
        reason = str(error).rpartition("WeightsUnpickler error: ")[2].strip().partition("\n")[0]
        raise InputError(
            f"{path}: not a readable checkpoint of tensors ({type(error).__name__}: {reason})"
        ) from error
    for key in ("state_dict", "model", "model_ema", "state_dict_ema"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(
            f"{path}: expected a state dict of tensors, found {type(content).__name__}"
        )
    return {str(name): tensor for name, tensor in content.items()}


def explain(found: Found) -> str:
    """What became of each tensor, for a reader."""
    moved = {old: new for old, new in found.renamed.items() if old != new}
    lines = [f"{old} -> {new}" for old, new in moved.items()]
    lines += [f"{name} left out: not of the network that classifies" for name in found.left_out]
    lines.append(
        f"{found.architecture}: {len(found.model.state_dict())} tensors, "
        f"{len(found.renamed) - len(moved)} under their own names, {len(moved)} renamed, "
        f"{len(found.left_out)} left out"
    )
    if found.difference is not None:
        lines.append(f"largest difference to the source's own logits: {found.difference:.3g}")
    return "\n".join(lines)
