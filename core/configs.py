"""The files of configs/, read by name, and the options on top of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mmengine.config import Config

from core.errors import InputError, unknown

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


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
        kind = {"pretrain": "recipe", "data": "dataset"}.get(folder, folder)
        raise unknown(kind, name, names(folder))
    return Config.fromfile(str(CONFIGS / folder / f"{name}.py"))


def config(name: str) -> Config:
    """A dataset: a file of configs/data, with its own name in it."""
    found = read("data", name)
    found.name = name
    return found


def read_protocol(name: str) -> Config:
    """A protocol: how large everything is, and which datasets stand in for the papers'."""
    return read("protocol", name)


def dataset_name(protocol: Config, name: str) -> str:
    """The file of configs/data that a dataset's name means under a protocol.

    Args:
        name: of one of the papers' datasets ("voc"), or of the one in its place ("tinyloc").

    Raises:
        InputError: the protocol has no such dataset.
    """
    if name in protocol.datasets:
        return protocol.datasets[name]
    if name in protocol.datasets.values():
        return name
    known = {*protocol.datasets, *protocol.datasets.values()}
    raise unknown(f"dataset of the {protocol.name} protocol", name, known)


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
