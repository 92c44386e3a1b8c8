"""Translates tensor names of other libraries' checkpoints to timm's.

A ResNet has the same tensors in every library, but other names:

| style | differs from timm's in |
| --- | --- |
| timm, torchvision | nothing |
| mmdet, mmseg: `ResNet`, `ResNetV1c`, `ResNetV1d`, `ResNeXt` | a deep stem is `stem.0` to `.7` |
| mmpretrain: these, `SEResNet` | a deep stem is `stem.0.conv`, `stem.0.bn` ...; no place for a |
| | pool in the shortcut of layer 1; `se_layer.conv1.conv`; the classifier is `head.fc` |
| GluonCV: v1b, v1c, v1d, by `save_parameters` | a norm's weight and bias are `gamma` and `beta` |

Other architectures must have timm's names. Only names are compared: they do not tell whether a
ResNet has its stride in the 1x1 or in the 3x3 convolution.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from core.errors import InputError

# prefixes of the network or the backbone; a name may have several
PREFIXES = re.compile(r"(?:module\.|_orig_mod\.|backbone\.)*")
# no weights: the number of models in an average (torch.optim.swa_utils)
COUNTERS = ("n_averaged",)

# modules of a deep stem in mmdet and mmseg, in mmpretrain, and in timm
STEMS = (
    ("stem.0", "stem.0.conv", "conv1.0"),
    ("stem.1", "stem.0.bn", "conv1.1"),
    ("stem.3", "stem.1.conv", "conv1.3"),
    ("stem.4", "stem.1.bn", "conv1.4"),
    ("stem.6", "stem.2.conv", "conv1.6"),
    ("stem.7", "stem.2.bn", "bn1"),
)
MODULES = {theirs: row[-1] for row in STEMS for theirs in row[:-1]} | {"head.fc": "fc"}
GLUON = {"gamma": "weight", "beta": "bias"}
GLUON_COUNTED = re.compile(r"(?:\w+_)?(?:conv|batchnorm|dense)\d+_[a-z_]+")


def timm_names(names: Iterable[str], wanted: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Maps a checkpoint's tensor names to those of a timm model.

    Args:
        names: the checkpoint's names.
        wanted: the model's names.

    Returns:
        The checkpoint's names mapped to timm's (unknown names to themselves), and the names that
        are left out because they do not belong to the classification network: if other names start
        with `backbone.`, the detector's or segmenter's own parts.

    Raises:
        InputError: the names are ambiguous.
    """
    wanted = set(wanted)
    prefixes = {name: PREFIXES.match(name)[0] for name in names}  # type: ignore[index]
    bare = {name: name[len(prefix) :] for name, prefix in prefixes.items()}
    if counted := next(filter(GLUON_COUNTED.fullmatch, bare.values()), None):
        raise InputError(
            f"{counted}: GluonCV's numbered names are the same for v1c and v1d, expected the names "
            f"that save_parameters writes: load the file in GluonCV and save it again"
        )
    within = any("backbone." in prefix for prefix in prefixes.values())
    left_out = [
        name
        for name, inner in bare.items()
        if inner in COUNTERS
        or (within and "backbone." not in prefixes[name] and not inner.startswith("head.fc."))
    ]
    kept = {name: inner for name, inner in bare.items() if name not in left_out}
    # if all other shortcuts start with a pool, layer 1's may lack it, because its stride is 1
    first, later = "layer1.0.downsample", "layer2.0.downsample.2.weight"
    unpooled = f"{first}.2.weight" in wanted and {f"{first}.0.weight", later} <= set(kept.values())
    return {name: _timm_name(inner, wanted, unpooled) for name, inner in kept.items()}, left_out


def _timm_name(name: str, wanted: set[str], unpooled: bool) -> str:
    if unpooled and (match := re.fullmatch(r"(layer1\.0\.downsample)\.([01])(\.\w+)", name)):
        return f"{match[1]}.{int(match[2]) + 1}{match[3]}"
    if name in wanted:
        return name
    module, _, last = name.rpartition(".")
    module = re.sub(r"\.se_layer\.conv([12])\.conv$", r".se.fc\1", module)
    return f"{MODULES.get(module, module)}.{GLUON.get(last, last)}".lstrip(".")
