"""The exchange file: a backbone's tensors under timm's names, and how it was trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import safetensors
import torch
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from core.errors import InputError
from core.files import write_atomically

FORMAT = "trickbench-backbone-2"
UNHASHED = "trickbench-backbone-1"  # of earlier versions: its tensors and metadata have no hash

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Exchange:
    """What an exchange file says about its tensors, whose names are timm's.

    Attributes:
        mean, std: of RGB in [0, 1], by which images are normalised.
        resolution, crop_ratio, interpolation: of the evaluation on the source task.
        recipe: what made the weights: a recipe's name, or a specification ("random:resnet50d").
        record_sha256: of the training record; empty where there is none.
    """

    architecture: str
    classes: Annotated[int, Field(ge=0)]
    mean: tuple[Finite, Finite, Finite]
    std: tuple[Positive, Positive, Positive]
    resolution: Annotated[int, Field(ge=1, le=8192)]
    crop_ratio: Annotated[float, Field(gt=0, le=1)]
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
    """Writes an exchange file with the SHA-256 of its tensors and of its metadata, whole or not."""
    metadata = {"format": FORMAT, "tensors_sha256": weights_sha256(tensors)}
    metadata |= {key: json.dumps(value) for key, value in asdict(about).items()}
    metadata["metadata_sha256"] = _metadata_sha256(metadata)
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save_safetensors(contiguous, metadata))


def _metadata_sha256(metadata: Mapping[str, str]) -> str:
    hashed = {key: value for key, value in metadata.items() if key != "metadata_sha256"}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()


def load_exchange(path: Path) -> tuple[dict[str, Tensor], Exchange]:
    """Tensors of an exchange file, on the CPU, and what it says about them.

    A file that has not changed since is read once.

    Raises:
        InputError: as `read_about` does; or the tensors are not those that were saved.
    """
    about = read_about(path)
    status = path.stat()
    return dict(_tensors(path, status.st_mtime_ns, status.st_size)), about


@lru_cache(maxsize=1)
def _tensors(path: Path, mtime_ns: int, size: int) -> dict[str, Tensor]:
    tensors = load_safetensors(path.read_bytes())
    stated = read_metadata(path).get("tensors_sha256")
    if stated is not None and (actual := weights_sha256(tensors)) != stated:
        raise InputError(
            f"{path}: damaged: its tensors have SHA-256 {actual[:12]}, {stated[:12]} were saved. "
            f"Copy it again, or remove it and run what made it again"
        )
    return tensors


def read_about(path: Path) -> Exchange:
    """What an exchange file says about its tensors, which are not read.

    Raises:
        InputError: no such file, not a safetensors file, without this project's metadata, or with
            metadata that are damaged or out of range.
    """
    metadata = read_metadata(path)
    if metadata.get("format") not in (FORMAT, UNHASHED):
        raise InputError(
            f"{path}: not an exchange file of this project (format {metadata.get('format')!r}, "
            f"expected {FORMAT!r}); for weights from elsewhere say file:{path},arch=NAME"
        )
    stated = metadata.get("metadata_sha256")
    if metadata["format"] == FORMAT and stated != _metadata_sha256(metadata):
        raise InputError(f"{path}: its metadata are damaged: their SHA-256 is not {stated}")
    try:
        return Exchange(**{key.name: json.loads(metadata[key.name]) for key in fields(Exchange)})
    except (KeyError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: its metadata are damaged ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}: its metadata say {key}={first['input']}: {first['msg']}"
        ) from error


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
