"""How weights start."""

from __future__ import annotations

import math

from torch import nn

BATCH_NORM = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


def initialise(model: nn.Module, *, xavier: bool, zero_gamma: bool) -> None:
    """Sets a new model's weights to those of step 0, in place.

    Args:
        xavier: Bag of Tricks, section 2.1: weights of convolutions and linear layers are U[-a, a],
            a = sqrt(6 / (d_in + d_out)), where d are the sizes of the channels, as the text has it
            (Glorot and Bengio's are those times the kernel's area); biases 0, BN's gamma 1 and
            beta 0. Otherwise they stay as timm has made them.
        zero_gamma: Bag of Tricks, section 3.1: gamma starts at 0 in the last BN of each residual
            block, so that every block starts as the identity and the network as a shallower one.
            Otherwise no gamma does; timm's own initialisation has such blocks.
    """
    for module in model.modules():
        if xavier and isinstance(module, nn.Conv2d):
            _uniform(module, module.in_channels + module.out_channels)
        elif xavier and isinstance(module, nn.Linear):
            _uniform(module, module.in_features + module.out_features)
        elif isinstance(module, BATCH_NORM):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    if zero_gamma:
        for module in model.modules():
            # timm's residual blocks know which of their norms is the last
            if zero := getattr(module, "zero_init_last", None):
                zero()


def _uniform(module: nn.Conv2d | nn.Linear, sizes: int) -> None:
    bound = math.sqrt(6 / sizes)
    nn.init.uniform_(module.weight, -bound, bound)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
