"""Parameters and multiply-adds of a network, counted on torch's meta device."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from core.record import Cost
from pretrain.model import architectures


def sized(cost: Cost, architecture: str, classes: int, resolution: int) -> Cost:
    """A run's cost with its network's parameters and multiply-adds added; see `count`."""
    parameters, flops = count(architecture, classes, resolution)
    return cost.model_copy(update=dict(parameters=parameters, flops=flops))


def count(architecture: str, classes: int, resolution: int) -> tuple[int, int]:
    """Parameters, and multiply-adds for one image, counted as in Bag of Tricks' table 5.

    Convolutions, linear layers (with the classifier) and attention count; normalisation,
    activations, pooling and additions do not.

    Args:
        architecture: timm's name.
        resolution: the side of the square image in pixels.

    Raises:
        InputError: timm has no such architecture.
    """
    with torch.device("meta"):
        model = architectures.for_training(architecture, classes, resolution, drop_path=0.0).eval()
        image = torch.empty(1, 3, resolution, resolution)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    # the counter counts two operations for each multiply-add
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2
