"""What a checkpoint of another library calls its tensors, put into timm's names.

A ResNet has the same tensors everywhere, and other names:

| style | differs from timm's in |
| --- | --- |
| timm, torchvision | nothing |
| mmdet, mmseg (`ResNet`, `ResNetV1c`, `ResNetV1d`) | a deep stem is `stem.0` to `stem.7` |
| mmpretrain | a deep stem is `stem.0.conv`, `stem.0.bn` ..., the classifier `head.fc` |
| GluonCV (v1b, v1c, v1d) | a norm's weight and bias are `gamma` and `beta` |

Other architectures have timm's names or are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Prefixes under which a library keeps the backbone or the whole network; more than one may do.
PREFIXES = ("module.", "_orig_mod.", "backbone.")

# timm's deep stem: three convolutions with two norms between them, the third norm outside
_MM_STEM = {"0": "conv1.0", "1": "conv1.1", "3": "conv1.3", "4": "conv1.4", "6": "conv1.6"}
_MM_STEM |= {"7": "bn1"}
_MMPRETRAIN_STEM = {
    **{"0.conv": "conv1.0", "0.bn": "conv1.1", "1.conv": "conv1.3", "1.bn": "conv1.4"},
    **{"2.conv": "conv1.6", "2.bn": "bn1"},
}
_GLUON = {"gamma": "weight", "beta": "bias"}


def timm_names(names: Iterable[str], wanted: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Which tensor of a checkpoint is which of a timm model.

    Args:
        names: of the checkpoint's tensors.
        wanted: of the model's.

    Returns:
        The checkpoint's names, each with timm's; and those that belong to no part of a network that
        classifies: where others lie below `backbone.`, a detector's or segmenter's own parts.
    """
    names, wanted = list(names), set(wanted)
    # a name below backbone. says that the file has other parts, which are not of the backbone
    within = [name for name in names if ".backbone." in f".{name}"]
    head = re.compile(r"(?:^|\.)head\.fc\.(?:weight|bias)$")
    left_out = [name for name in names if within and name not in within and not head.search(name)]
    found = {
        name: _timm_name(_without_prefixes(name), wanted) for name in names if name not in left_out
    }
    return found, left_out


def _without_prefixes(name: str) -> str:
    while prefix := next((p for p in PREFIXES if name.startswith(p)), None):
        name = name.removeprefix(prefix)
    return name


def _timm_name(name: str, wanted: set[str]) -> str:
    if name in wanted:
        return name
    stem, _, last = name.rpartition(".")
    last = _GLUON.get(last, last)
    if match := re.fullmatch(r"stem\.(\d)\.(conv|bn)", stem):
        stem = _MMPRETRAIN_STEM.get(f"{match[1]}.{match[2]}", stem)
    elif match := re.fullmatch(r"stem\.(\d)", stem):
        stem = _MM_STEM.get(match[1], stem)
    elif stem == "head.fc":
        stem = "fc"
    return f"{stem}.{last}"
