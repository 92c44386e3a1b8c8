"""Recipes and protocols: from files of configs/ to one checked, immutable `Recipe`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mmengine.config import Config

from pretrain.errors import InputError, unknown

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a classification run, apart from the data's place and the seed.

    Epochs may be fractions of one (a warm-up of half an epoch); resolutions are in pixels.
    """

    arch: str
    dataset: str
    epochs: float
    batch_size: int  # over all devices
    lr: float  # for `base_batch_size` if lr follows the batch, else as it stands
    base_batch_size: int
    linear_scaling: bool
    warmup_epochs: float
    lr_decay: Literal["step", "cosine"]
    momentum: float
    weight_decay: float
    no_bias_decay: bool
    zero_gamma: bool
    precision: Literal["fp32", "fp16"]
    label_smoothing: float
    distill: str | None  # the recipe that trains the teacher
    distill_temperature: float
    mixup_alpha: float
    train_resolution: int
    eval_resolution: int
    crop_ratio: float  # evaluation: the crop's side over the resized shorter side
    interpolation: Literal["bilinear", "bicubic"]
    hsv_jitter: float  # hue, saturation and value are scaled by U[1 - jitter, 1 + jitter]
    pca_noise: float  # standard deviation of the lighting coefficients
    mean: tuple[float, float, float]  # of RGB in [0, 1]
    std: tuple[float, float, float]
    accumulation: int = 1  # micro-batches per step and device
    limit: int | None = None  # train on this many samples only, for a trial


def digest(value: Any) -> str:
    """SHA-256 of a JSON-like value, the same whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def names(folder: str) -> list[str]:
    """Names of the files of configs/<folder>, without their ending, folders below it included."""
    root = CONFIGS / folder
    return sorted(str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.py"))


def read(folder: str, name: str) -> Config:
    """One file of configs/<folder> with everything it inherits.

    Raises:
        InputError: there is no such file; the message offers the nearest names.
    """
    if name not in names(folder):
        raise unknown(
            {"pretrain": "recipe", "data": "data set"}.get(folder, folder), name, names(folder)
        )
    return Config.fromfile(str(CONFIGS / folder / f"{name}.py"))


def read_protocol(name: str) -> Config:
    """A protocol: how large everything is, and which data sets stand in for the papers'."""
    return read("protocol", name)


def dataset_name(protocol: Config, name: str) -> str:
    """The file of configs/data that a data set's name means under a protocol.

    Args:
        name: the name of one of the papers' sets ("voc"), or of the set in its place ("tinyloc").
    """
    if name in protocol.datasets:
        return protocol.datasets[name]
    if name in protocol.datasets.values():
        return name
    known = {*protocol.datasets, *protocol.datasets.values()}
    raise unknown(f"data set of the {protocol.name} protocol", name, known)


def parse_options(options: list[str]) -> dict[str, Any]:
    """`key=value` words as a dictionary; values are read as Python or JSON would read them.

    Raises:
        InputError: a word without an equals sign.
    """
    parsed: dict[str, Any] = {}
    for word in options:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise InputError(f"option {word!r} is not of the form key=value")
        try:
            parsed[key] = json.loads(value)
        except json.JSONDecodeError:
            parsed[key] = {"True": True, "False": False, "None": None}.get(value, value)
    return parsed


def check(what: str, key: str, value: Any) -> None:
    """Whether a value is of the type that a field of `Recipe` is annotated with.

    Raises:
        InputError: it is not; the message opens with `what`.
    """
    hint = get_type_hints(Recipe)[key]
    if not _fits(value, hint):
        raise InputError(f"{what}: {value!r}, expected {_in_words(hint)}")


def _fits(value: Any, hint: Any) -> bool:
    """A whole number also counts as a float, no bool counts as a number."""
    parts = get_args(hint)
    if get_origin(hint) is Literal:
        return value in parts
    if isinstance(hint, UnionType):
        return any(_fits(value, part) for part in parts)
    if get_origin(hint) is tuple:
        return type(value) is tuple and len(value) == len(parts) and all(map(_fits, value, parts))
    return type(value) in (int, float) if hint is float else type(value) is hint


def _in_words(hint: Any) -> str:
    """A type as messages name it: "fp32 or fp16", "int or None", "3 numbers"."""
    if get_origin(hint) is tuple:
        return f"{len(get_args(hint))} numbers"
    if get_args(hint):
        return " or ".join(map(_in_words, get_args(hint)))
    return {NoneType: "None", float: "a number"}.get(hint, str(getattr(hint, "__name__", hint)))


def override(recipe: Recipe, options: dict[str, Any]) -> Recipe:
    """A recipe with some of its fields changed.

    Raises:
        InputError: a key that is no field, or a value of another type than the field's.
    """
    known = {field.name for field in fields(Recipe)}
    changes: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in options.items()
    }
    for key, value in changes.items():
        if key not in known:
            raise unknown("option", key, known)
        check(f"option {key}", key, value)
    return replace(recipe, **changes)


def under_protocol(recipe: Recipe, protocol: Config, settings: str = "pretrain") -> Recipe:
    """A recipe as large as a protocol makes it; the tricks stay as they are.

    The protocol's `epochs`, `batch_size` and `lr` are factors, so that recipes keep their
    proportions: 200 epochs stay 5/3 of 120, and a batch of 1024 four times one of 256.

    Args:
        settings: the section of the protocol to read, "pretrain" or "finetune".
    """
    scale = protocol[settings]
    resolution = scale.get("resolution")
    return replace(
        recipe,
        arch=protocol.architectures.get(recipe.arch, recipe.arch),
        epochs=recipe.epochs * scale.get("epochs", 1),
        warmup_epochs=recipe.warmup_epochs * scale.get("epochs", 1),
        batch_size=max(1, round(recipe.batch_size * scale.get("batch_size", 1))),
        base_batch_size=max(1, round(recipe.base_batch_size * scale.get("batch_size", 1))),
        lr=recipe.lr * scale.get("lr", 1),
        train_resolution=resolution or recipe.train_resolution,
        eval_resolution=resolution or recipe.eval_resolution,
        crop_ratio=scale.get("crop_ratio", recipe.crop_ratio),
    )


def load(name: str, protocol: str, options: dict[str, Any], dataset: str | None = None) -> Recipe:
    """A recipe by its name, as large as the protocol makes it, with the user's options on top.

    Args:
        name: a file of configs/pretrain.
        protocol: a file of configs/protocol.
        options: fields to change last.
        dataset: train on this set in place of the recipe's own (table 7: Places365).

    Raises:
        InputError: an unknown recipe, protocol, data set or option.
    """
    overlay = read_protocol(protocol)
    recipe = from_config(read("pretrain", name), name)
    recipe = replace(recipe, dataset=dataset_name(overlay, dataset or recipe.dataset))
    return override(under_protocol(recipe, overlay), options)


def from_config(config: Config, name: str) -> Recipe:
    """The recipe that a merged config file describes.

    mmengine ignores unknown top-level keys in silence, so they are checked here.

    Raises:
        InputError: a key that is no field of `Recipe`, a field without a value, or a value of
            another type than its field's.
    """
    values = dict(config.items())
    known = {field.name for field in fields(Recipe)}
    for key in values:
        if key not in known:
            raise InputError(f"{name}: {unknown('key', key, known)}")
    values |= {key: tuple(values[key]) for key in ("mean", "std") if key in values}
    for key, value in values.items():
        check(f"{name}: {key}", key, value)
    try:
        return Recipe(**values)
    except TypeError as error:
        raise InputError(f"{name}: {error}") from error


def as_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON-like values, for records and hashes."""
    return json.loads(json.dumps(asdict(recipe)))
