"""Checks that a task's model holds the weights of its exchange file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from core import exchange
from core.errors import InputError
from core.exchange import Exchange
from downstream.backbones.timm_features import TimmFeatures, TimmLastStage, dense, levels
from pretrain.model import architectures


def weights_in(model: nn.Module) -> dict[str, Tensor]:
    """The backbone's tensors in a detector or segmenter, by timm's names."""
    found: dict[str, Tensor] = {}
    for module in model.modules():
        if isinstance(module, TimmFeatures):
            found |= module.net.state_dict()
        elif isinstance(module, TimmLastStage):
            found |= module.state_dict()
    return found


def sha256_in(model: nn.Module) -> str:
    """SHA-256 over the backbone's tensors in a detector or segmenter."""
    return exchange.weights_sha256(weights_in(model))


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; restores each module's mode and the random state."""
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            model.eval()
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def feature_difference(model: nn.Module, path: Path, tolerance: float = 1e-3) -> float:
    """The largest difference between the features in a task's model and those of its exchange file.

    One seeded random image goes through the backbone in the detector or segmenter, and through the
    whole timm model of the exchange file, both in evaluation mode on the same device. In a C4
    detector, layer 4 gets layer 3's features of the whole image. Dilated levels are compared with
    timm's dilated model (with the same identity shortcuts), the others also with the undilated one.

    Args:
        model: holds one `TimmFeatures`, and for C4 a `TimmLastStage`; it is not changed.
        tolerance: largest allowed difference, as a fraction of a level's largest value.

    Raises:
        InputError: a level differs by more, has another shape, or is not finite.
    """
    (features,) = (m for m in model.modules() if isinstance(m, TimmFeatures))
    last = [m for m in model.modules() if isinstance(m, TimmLastStage)]
    device = next(features.parameters()).device
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)).to(device)
    largest = 0.0
    with _evaluating(model):
        found = dict(zip(features.indices, features(image), strict=True))
        for stage in last:
            found[max(found) + 1] = stage(found[max(found)])
        for output_stride in sorted({features.output_stride, 32}):
            whole = dense(path, output_stride).model.to(device).eval()
            wanted = whole.forward_intermediates(image, norm=False, intermediates_only=True)
            for index, feature in found.items():
                stride = levels(whole)[index]["reduction"]
                if stride > features.output_stride:
                    continue  # dilated in the task's model
                largest = max(largest, _difference(feature, wanted[index], path, stride, tolerance))
    return largest


def _difference(found: Tensor, wanted: Tensor, path: Path, stride: int, tolerance: float) -> float:
    what = f"{path}: the features of stride {stride} in the model"
    if found.shape != wanted.shape:
        raise InputError(f"{what} are {list(found.shape)}, expected {list(wanted.shape)}")
    difference = (found - wanted).abs().max().item()
    if not difference <= (allowed := tolerance * wanted.abs().max().item()):
        raise InputError(f"{what} differ by up to {difference:.3g}, expected at most {allowed:.3g}")
    return difference


def unused_by_features(about: Exchange) -> list[str]:
    """Names of the tensors that no feature level needs: the classifier and what precedes it."""
    model = architectures.create(about.architecture, about.classes)
    whole = set(model.state_dict())
    every_level = list(range(len(levels(model))))
    model.prune_intermediate_layers(every_level, prune_norm=True, prune_head=True)
    return sorted(whole - set(model.state_dict()))


def check_weights(model: nn.Module, path: Path) -> tuple[int, list[str]]:
    """Checks, tensor by tensor, that a detector or segmenter holds an exchange file's weights.

    Returns:
        The number of the file's tensors in the model, and the names of those that no task uses.

    Raises:
        InputError: a tensor of the file differs in the model, or is missing there.
    """
    tensors, about = exchange.load_exchange(path)
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
            f"{path}: {len(wrong)} of its tensors differ or are missing in the model: "
            f"{', '.join(wrong)}"
        )
    return len(held), unused
