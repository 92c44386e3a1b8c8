"""Parameters and multiply-adds of a network, counted without computing anything."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from core.record import Cost
from pretrain.model import architectures


def sized(cost: Cost, architecture: str, classes: int, resolution: int) -> Cost:
    """What a run took, with the size of its network; see `count`."""
    parameters, flops = count(architecture, classes, resolution)
    return cost.model_copy(update=dict(parameters=parameters, flops=flops))


def count(architecture: str, classes: int, resolution: int) -> tuple[int, int]:
    """The size of a network, as Bag of Tricks' table 5 counts it.

    Multiply-adds are those of convolutions, of linear layers and of attention; normalisation,
    activations, pooling and additions are not counted. The network is built on torch's meta
    device, where tensors have shapes and no content.

    Args:
        architecture: a name that timm knows.
        classes: of the classifier, which counts.
        resolution: pixels of the side of the one square image.

    Returns:
        Parameters, and multiply-adds for one image.

    Raises:
        InputError: timm has no such architecture.
    """
    with torch.device("meta"):
        model = architectures.for_training(architecture, classes, resolution, drop_path=0.0).eval()
        image = torch.empty(1, 3, resolution, resolution)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    # the counter has two operations for each multiply-add
    return sum(it.numel() for it in model.parameters()), counter.get_total_flops() // 2
