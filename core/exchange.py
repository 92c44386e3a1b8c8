"""The exchange file: a backbone's tensors under timm's names, and how it was trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors
import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from core.errors import InputError
from core.files import write_atomically

FORMAT = "trickbench-backbone-1"


@dataclass(frozen=True)
class Exchange:
    """What an exchange file says about its tensors, whose names are timm's.

    Attributes:
        mean, std: of RGB in [0, 1], by which images are normalised.
        resolution, crop_ratio, interpolation: of the evaluation on the source task.
        recipe: what made the weights: a recipe's name, or a specification ("random:resnet50d").
        record_sha256: of the training record; empty where there is none.
    """

    architecture: str
    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resolution: int
    crop_ratio: float
    interpolation: Literal["bilinear", "bicubic"]
    pretrained: bool
    recipe: str
    protocol: str
    seed: int
    dataset: str
    record_sha256: str


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, types, shapes and bytes of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(np.asarray(tensor.reshape(-1).view(torch.uint8)).tobytes())
    return digest.hexdigest()


def save_exchange(path: Path, tensors: Mapping[str, Tensor], about: Exchange) -> None:
    """Writes an exchange file, whole or not at all."""
    metadata = {"format": FORMAT} | {k: json.dumps(v) for k, v in asdict(about).items()}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save_safetensors(contiguous, metadata))


def load_exchange(path: Path) -> tuple[dict[str, Tensor], Exchange]:
    """Tensors of an exchange file, on the CPU, and what it says about them.

    Raises:
        InputError: as `read_about` does.
    """
    about = read_about(path)
    return load_safetensors(path.read_bytes()), about


def read_about(path: Path) -> Exchange:
    """What an exchange file says about its tensors, which are not read.

    Raises:
        InputError: no such file, not a safetensors file, or without this project's metadata.
    """
    metadata = read_metadata(path)
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"{path}: not an exchange file of this project (format {metadata.get('format')!r}, "
            f"expected {FORMAT!r}); for weights from elsewhere say file:{path},arch=NAME"
        )
    try:
        values = {field.name: json.loads(metadata[field.name]) for field in fields(Exchange)}
    except (KeyError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: its metadata are damaged ({error})") from error
    values |= {key: tuple(values[key]) for key in ("mean", "std")}
    return Exchange(**values)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; empty if it has none.

    Raises:
        InputError: no such file, or not a whole safetensors file.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error
