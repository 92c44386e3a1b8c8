"""Recipes and protocols: from files of configs/ to one checked, immutable `Recipe`."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import Annotated, Any, Literal

from mmengine.config import Config
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from core import configs
from core.errors import InputError, unknown
from pretrain.tricks.randaugment import policy

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Pixels = Annotated[int, Field(ge=1, le=8192)]  # of the side of a square image
Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Recipe:
    """Everything that decides a classification run but the seed and where the data are.

    Epochs may be fractions of one (a warm-up of half an epoch); resolutions are in pixels.
    Features with a default here are off by default.
    """

    arch: str
    dataset: str
    epochs: Positive
    batch_size: Count  # over all devices
    lr: Positive  # for `base_batch_size` if lr follows the batch, else as it stands
    base_batch_size: Count
    linear_scaling: bool
    warmup_epochs: NotNegative
    lr_decay: Literal["step", "cosine"]
    momentum: Share  # of SGD
    weight_decay: NotNegative
    no_bias_decay: bool
    zero_gamma: bool
    precision: Literal["fp32", "fp16"]
    label_smoothing: Share
    distill: str | None  # the recipe that trains the teacher
    distill_temperature: Positive
    mixup_alpha: NotNegative
    train_resolution: Pixels
    eval_resolution: Pixels
    crop_ratio: Annotated[float, Field(gt=0, le=1)]  # evaluation: the crop's side over the shorter
    interpolation: Literal["bilinear", "bicubic"]
    hsv_jitter: Share  # hue, saturation and value are scaled by U[1 - jitter, 1 + jitter]
    pca_noise: NotNegative  # standard deviation of the lighting coefficients
    mean: tuple[Finite, Finite, Finite]  # of RGB in [0, 1]
    std: tuple[Positive, Positive, Positive]
    optimiser: Literal["sgd", "lamb"] = "sgd"
    loss: Literal["ce", "bce"] = "ce"
    init: Literal["xavier", "timm"] = "xavier"
    cutmix_alpha: NotNegative = 0.0  # beside mixup: each example gets one of the two
    randaugment: str | None = None  # in timm's notation
    repeats: Count = 1  # repeated augmentation: copies of a sample in an epoch
    drop_path: Share = 0.0  # stochastic depth, of the last block
    ema_decay: Share = 0.0  # of averaged weights, which are then what the run yields
    accumulation: Count = 1  # micro-batches per step and device
    limit: Count | None = None  # debug run: train on this many samples only


def checked(what: str, values: dict[str, Any]) -> Recipe:
    """The recipe of these values.

    Raises:
        InputError: a key that is no field, a field without a value, or a value of another type or
            out of range; the message opens with `what`.
    """
    known = {field.name for field in fields(Recipe)}
    for key in values:
        if key not in known:
            raise InputError(f"{what}: {unknown('key', key, known)}")
    typed: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    try:
        recipe = Recipe(**typed)
        if recipe.randaugment is not None:
            policy(recipe.randaugment, recipe.train_resolution, recipe.mean)
        return recipe
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        seen = "" if first["type"] == "missing" else f" {first['input']!r}:"
        raise InputError(f"{what}: {key}:{seen} {first['msg']}") from error


def override(recipe: Recipe, options: dict[str, Any]) -> Recipe:
    """A recipe with some of its fields changed.

    Raises:
        InputError: a key that is no field, or a value that does not suit its field.
    """
    return checked("option", asdict(recipe) | options)


def for_architecture(recipe: Recipe, arch: str) -> Recipe:
    """A recipe for another architecture, at the pixels that the papers feed it.

    They are in configs/architectures.py; one that is not listed keeps the recipe's own.
    """
    own = (recipe.train_resolution, recipe.eval_resolution)
    sizes = Config.fromfile(str(configs.CONFIGS / "architectures.py")).resolutions
    train, evaluation = sizes.get(arch, {}).get(own, own)
    return replace(recipe, arch=arch, train_resolution=train, eval_resolution=evaluation)


def under_protocol(recipe: Recipe, protocol: Config, settings: str = "pretrain") -> Recipe:
    """A recipe as large as a protocol makes it; the tricks stay as they are.

    The protocol's `epochs`, `batch_size` and `lr` are factors, so that recipes keep their
    proportions: 200 epochs stay 5/3 of 120, and a batch of 1024 four times one of 256. So is
    `resolution`: at 64/224, 299 pixels become 85, and a recipe that trains at 160 trains at 46.

    Args:
        settings: the section of the protocol to read: "pretrain", "finetune" or "linear_sgd".
    """
    scale = protocol.get(settings, {})
    zoom = scale.get("resolution", 1)
    return replace(
        recipe,
        arch=protocol.architectures.get(recipe.arch, recipe.arch),
        epochs=recipe.epochs * scale.get("epochs", 1),
        warmup_epochs=recipe.warmup_epochs * scale.get("epochs", 1),
        batch_size=max(1, round(recipe.batch_size * scale.get("batch_size", 1))),
        base_batch_size=max(1, round(recipe.base_batch_size * scale.get("batch_size", 1))),
        lr=recipe.lr * scale.get("lr", 1),
        train_resolution=max(1, round(recipe.train_resolution * zoom)),
        eval_resolution=max(1, round(recipe.eval_resolution * zoom)),
        crop_ratio=scale.get("crop_ratio", recipe.crop_ratio),
    )


def load(
    name: str,
    protocol: str,
    options: dict[str, Any],
    dataset: str | None = None,
    arch: str | None = None,
) -> Recipe:
    """A recipe by its name, as large as the protocol makes it, with the user's options on top.

    Args:
        name: a file of configs/pretrain.
        protocol: a file of configs/protocol.
        options: fields to change last.
        dataset: train on this set in place of the recipe's own (table 7: Places365).
        arch: any architecture of timm, in place of the recipe's own.

    Raises:
        InputError: an unknown recipe, protocol, dataset or option.
    """
    overlay = configs.read_protocol(protocol)
    recipe = from_config(configs.read("pretrain", name), name)
    recipe = replace(recipe, dataset=configs.dataset_name(overlay, dataset or recipe.dataset))
    if arch is not None:
        recipe = for_architecture(recipe, arch)
    return override(under_protocol(recipe, overlay), options)


def from_config(config: Config, name: str) -> Recipe:
    """The recipe that a merged config file describes.

    mmengine ignores unknown top-level keys in silence, so they are checked here.

    Raises:
        InputError: a key that is no field of `Recipe`, a field without a value, or a value of
            another type than its field's.
    """
    return checked(name, dict(config.items()))


def as_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON-like values, for records and hashes."""
    return json.loads(json.dumps(asdict(recipe)))
