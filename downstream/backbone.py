"""The one bridge from any checkpoint into mmdet, mmseg and the probes: strict, or it raises.

Whatever the user names becomes an exchange file first. From that file a whole timm model is built
and filled, one tensor of the file for each of the model; only then is it cut down to what a task
needs. So no task can train from weights that were loaded in part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from safetensors.torch import load as load_safetensors
from timm.layers import AvgPool2dSame, convert_sync_batchnorm
from torch import Tensor, nn

from pretrain import checkpoint, distributed, models, recipe
from pretrain.checkpoint import Exchange
from pretrain.errors import InputError
from pretrain.models import TimmModel
from results import record

KINDS = "random:NAME, timm:NAME or file:PATH,arch=NAME"


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
    return re.sub(r"[^A-Za-z0-9._-]+", "-", backbone or "")


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


def exchange_of(spec: str, out: Path, protocol: str, seed: int) -> Path:
    """Turns a specification into an exchange file below `out`, or finds the file it names.

    Args:
        spec: `random:NAME` (freshly initialised from `seed`), `timm:NAME` (timm's own weights) or
            `file:PATH,arch=NAME` (safetensors or a torch state dict with timm's names). An
            exchange file knows its own architecture, and needs no `arch=`.

    Raises:
        InputError: another kind, an unknown architecture, or weights that do not fit it.
    """
    kind, colon, rest = spec.partition(":")
    if not colon or not rest or kind not in ("random", "timm", "file"):
        raise InputError(f"backbone {spec!r} is none of {KINDS}")
    if kind == "random":
        arch = recipe.read_protocol(protocol).architectures.get(rest, rest)
        return _write(out, spec, *_random(arch, seed), protocol, seed)
    if kind == "timm":
        return _write(out, spec, *_from_timm(rest), protocol, seed)
    path, _, options = rest.partition(",")
    arch = options.removeprefix("arch=") if options.startswith("arch=") else None
    if options and arch is None:
        raise InputError(f"backbone {spec!r}: {options!r} is not of the form arch=NAME")
    source = Path(path)
    if arch is None:
        tensors, about = checkpoint.load_exchange(source)
        models.load_strictly(models.create(about.architecture, about.classes), tensors)
        return source
    return _write(out, spec, *_from_file(source, arch), protocol, seed)


def _write(
    out: Path, spec: str, model: TimmModel, arch: str, pretrained: bool, protocol: str, seed: int
) -> Path:
    """The exchange file of a model, with timm's preprocessing; random weights get the recipes'."""
    data = timm.data.resolve_data_config({}, model=model)
    if not pretrained:
        ours = recipe.from_config(recipe.read("pretrain", "b-standard"), "b-standard")
        data |= dict(mean=ours.mean, std=ours.std, interpolation=ours.interpolation)
    about = Exchange(
        architecture=arch,
        classes=int(model.num_classes),
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        resolution=data["input_size"][-1],
        crop_ratio=data["crop_pct"],
        interpolation="bicubic" if data["interpolation"] == "bicubic" else "bilinear",
        pretrained=pretrained,
        recipe=spec,
        protocol=protocol,
        seed=seed,
        dataset="",
        record_sha256="",
    )
    path = out / "backbone.safetensors"
    checkpoint.save_exchange(path, model.state_dict(), about)
    return path


def _random(arch: str, seed: int) -> tuple[TimmModel, str, bool]:
    torch.manual_seed(seed)
    model = models.create(arch, classes=1)
    # what the recipes with zero gamma have at step 0 (docs/choices.md says what this does)
    models.initialise(model, xavier=True, zero_gamma=True)
    return model, arch, False


def _from_timm(name: str) -> tuple[TimmModel, str, bool]:
    if not timm.is_model(name):
        raise recipe.unknown("architecture", name, timm.list_models())
    try:
        return timm.create_model(name, pretrained=True), name, True
    except Exception as error:  # the hub's client has many ways to say that it cannot be reached
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"timm:{name}: its weights are not in the local cache, nor to be downloaded "
            f"({reason}). Without a network, copy them here and say "
            f"file:PATH,arch={name.partition('.')[0]}"
        ) from error


def _from_file(path: Path, arch: str) -> tuple[TimmModel, str, bool]:
    tensors = read_tensors(path)
    name = models.classifier(models.create(arch, classes=1))
    weight = tensors.get(f"{name}.weight")
    # a file without a classifier is complete for every use here; it gets one class
    classes = len(weight) if weight is not None else 1
    model = models.create(arch, classes)
    if weight is None:
        own = model.state_dict()
        tensors = tensors | {k: own[k] for k in own if k.startswith(f"{name}.")}
    try:
        models.load_strictly(model, tensors)
    except InputError as error:
        raise InputError(f"{path} as {arch}: {error}") from error
    return model, arch, True


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a torch checkpoint, with wrappers taken off.

    Wrappers are the keys `state_dict` and `model`, and the prefix `module.` of every name.

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
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(
            f"{path}: expected a state dict of tensors, found {type(content).__name__}"
        )
    prefix = "module." if content and all(str(k).startswith("module.") for k in content) else ""
    return {str(name).removeprefix(prefix): tensor for name, tensor in content.items()}


@dataclass(frozen=True)
class Loaded:
    """A whole timm model with an exchange file's weights in it, and what the file says."""

    model: TimmModel
    about: Exchange
    sha256: str


def load(path: Path | str, **kwargs: Any) -> Loaded:
    """The model of an exchange file, every tensor accounted for.

    Args:
        kwargs: further arguments of the model; `output_stride=8` dilates the last stages.

    Raises:
        InputError: not an exchange file, or its tensors are not the architecture's; all that do
            not fit are named. Or the architecture cannot be had with these arguments.
    """
    tensors, about = checkpoint.load_exchange(Path(path))
    try:
        model = models.create(about.architecture, about.classes, **kwargs)
    except (TypeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"{about.architecture} cannot be built with {kwargs}: {error}") from error
    try:
        models.load_strictly(model, tensors)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Loaded(model, about, checkpoint.weights_sha256(tensors))


def identity_in_dilated_shortcuts(model: TimmModel) -> None:
    """Removes the 2 x 2 average pool of stride 1 that timm puts into dilated ResNet-D shortcuts.

    mmseg and GluonCV, whose settings the papers' segmentation uses, have the identity there.
    """
    for module in model.modules():
        shortcut: Any = getattr(module, "downsample", None)
        pool = shortcut[0] if isinstance(shortcut, nn.Sequential) else None
        if isinstance(pool, AvgPool2dSame) and pool.stride in (1, (1, 1)):
            shortcut[0] = nn.Identity()


def levels(model: TimmModel) -> list[dict[str, Any]]:
    """The feature levels of a timm model, outermost first: channels, stride and module of each.

    Raises:
        InputError: an architecture without a pyramid of features.
    """
    info = getattr(model, "feature_info", None)
    if not info or not hasattr(model, "forward_intermediates"):
        raise InputError(
            f"{type(model).__name__} gives no pyramid of features: use a CNN of timm's"
        )
    return [dict(level) for level in info]


def shares_statistics() -> bool:
    """Whether trained BN takes its statistics over all devices; torch can do so on GPUs only."""
    return torch.cuda.is_available() and distributed.announced_world() > 1


@MODELS.register_module()
class TimmFeatures(BaseModule):
    """A timm backbone for mmdet and mmseg, with the weights of an exchange file.

    Args:
        checkpoint: path of the exchange file.
        out_levels: which of the feature levels come out, counted from the end: -1 is the last.
        output_stride: 8 or 16 dilate the last stages; 32 leaves them.
        frozen_stride: what the features of this stride are computed from is not trained; 4 freezes
            a ResNet's stem and layer 1, 0 nothing.
        freeze_norm: every BN uses its running statistics, and its affine part is not trained.

    Forward: images [N, 3, H, W] to a tuple of features, one for each of `out_levels`.
    """

    def __init__(
        self,
        checkpoint: str,
        out_levels: Sequence[int] = (-4, -3, -2, -1),
        output_stride: int = 32,
        frozen_stride: int = 0,
        freeze_norm: bool = False,
    ) -> None:
        super().__init__()
        stride = {} if output_stride == 32 else {"output_stride": output_stride}
        loaded = load(checkpoint, **stride)
        identity_in_dilated_shortcuts(loaded.model)
        info = levels(loaded.model)
        self.indices = [len(info) + level for level in out_levels]
        self.freeze_norm = freeze_norm
        loaded.model.prune_intermediate_layers(self.indices, prune_norm=True, prune_head=True)
        self.net: TimmModel = loaded.model
        frozen = _parameters_up_to(self.net, frozen_stride) if frozen_stride else set()
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(name not in frozen)
        if freeze_norm:
            _freeze_norms(self.net)
        elif shares_statistics():
            self.net = convert_sync_batchnorm(self.net)  # timm's: keeps activations inside norms
        self.train()

    def init_weights(self) -> None:
        """Nothing: the weights are in place. BaseModule's would call timm's and draw new ones."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.net.forward_intermediates(
            images, indices=self.indices, norm=False, intermediates_only=True
        )
        return tuple(features)

    def train(self, mode: bool = True) -> TimmFeatures:
        super().train(mode)
        if self.freeze_norm:
            _norms_to_eval(self.net)
        return self


@MODELS.register_module()
class TimmLastStage(BaseModule):
    """Layer 4 of a timm ResNet as the head of Faster R-CNN's regions (its C4 form).

    ResNet-D keeps its average-pool shortcut, which mmdet's own `ResLayer` does not have.

    Args:
        checkpoint: path of the exchange file.
        freeze_norm: every BN uses its running statistics, and its affine part is not trained.

    Forward: regions [R, C, 14, 14] to [R, C', 7, 7].

    Raises:
        InputError: the architecture has no `layer4`.
    """

    def __init__(self, checkpoint: str, freeze_norm: bool = False) -> None:
        super().__init__()
        loaded = load(checkpoint)
        if not hasattr(loaded.model, "layer4"):
            raise InputError(
                f"{loaded.about.architecture} has no layer4 to split off for the C4 detector: use "
                f"DETECTOR=fpn"
            )
        self.layer4: nn.Module = loaded.model.layer4
        self.freeze_norm = freeze_norm
        if freeze_norm:
            _freeze_norms(self.layer4)
        elif shares_statistics():
            self.layer4 = convert_sync_batchnorm(self.layer4)
        self.train()

    def init_weights(self) -> None:
        """Nothing: the weights are in place."""

    def forward(self, regions: Tensor) -> Tensor:
        return self.layer4(regions)

    def train(self, mode: bool = True) -> TimmLastStage:
        super().train(mode)
        if self.freeze_norm:
            _norms_to_eval(self.layer4)
        return self


def _norm_layers(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def _freeze_norms(module: nn.Module) -> None:
    for norm in _norm_layers(module):
        for parameter in norm.parameters():
            parameter.requires_grad_(False)


def _norms_to_eval(module: nn.Module) -> None:
    for norm in _norm_layers(module):
        norm.eval()


def _parameters_up_to(model: TimmModel, stride: int) -> set[str]:
    """Names of the parameters that the features of a stride are computed from.

    timm registers a model's modules in the order in which they run.

    Raises:
        InputError: no level has this stride.
    """
    modules = {level["reduction"]: level["module"] for level in reversed(levels(model))}
    if stride not in modules:
        raise InputError(
            f"{type(model).__name__} has no features of stride {stride} to freeze up to; its "
            f"strides are {', '.join(map(str, sorted(modules)))} (model.backbone.frozen_stride)"
        )
    module = modules[stride]
    names = [name for name, _ in model.named_parameters()]
    last = max(i for i, name in enumerate(names) if name.startswith(f"{module}."))
    return set(names[: last + 1])


def weights_in(model: nn.Module) -> dict[str, Tensor]:
    """The backbone's tensors as they stand in a detector or segmenter, by timm's names."""
    found: dict[str, Tensor] = {}
    for module in model.modules():
        if isinstance(module, TimmFeatures):
            found |= module.net.state_dict()
        elif isinstance(module, TimmLastStage):
            found |= module.state_dict()
    return found


def unused_by_features(about: Exchange) -> list[str]:
    """Names of the tensors that no feature level needs: the classifier, and what is just before."""
    model = models.create(about.architecture, about.classes)
    whole = set(model.state_dict())
    every_level = list(range(len(levels(model))))
    model.prune_intermediate_layers(every_level, prune_norm=True, prune_head=True)
    return sorted(whole - set(model.state_dict()))


def classifier_tensors(model: TimmModel) -> list[str]:
    """Names of the tensors of a whole timm model's classifier."""
    prefix = f"{models.classifier(model)}."
    return sorted(name for name in model.state_dict() if name.startswith(prefix))


def account(model: nn.Module, path: Path) -> tuple[int, list[str]]:
    """Checks, tensor by tensor, that a detector or segmenter holds an exchange file's weights.

    Returns:
        How many of the file's tensors are in the model, and the names of those that no task uses.

    Raises:
        InputError: a tensor differs, or one that belongs into the model is not in it.
    """
    tensors, about = checkpoint.load_exchange(path)
    held = weights_in(model)
    unused = unused_by_features(about)
    wrong = [
        name
        for name in tensors
        if name not in unused
        and (name not in held or not torch.equal(held[name].cpu(), tensors[name]))
    ]
    if wrong:
        raise InputError(
            f"{path}: {len(wrong)} of the model's tensors are not its: {', '.join(wrong)}"
        )
    return len(held), unused
