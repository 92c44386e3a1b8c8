"""Initial weights (Bag of Tricks, sections 2.1 and 3.1)."""

from __future__ import annotations

import math

from torch import nn

BATCH_NORM = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


def initialise(model: nn.Module, *, xavier: bool, zero_gamma: bool) -> None:
    """Initialises a model in place. BN's gamma is 1 and beta 0 unless stated otherwise.

    Args:
        xavier: section 2.1: weights of convolutions and linear layers are U[-a, a] with
            a = sqrt(6 / (d_in + d_out)), biases 0. As in the text, d counts channels (Glorot and
            Bengio multiply by the kernel's area). False keeps timm's weights and biases.
        zero_gamma: section 3.1: gamma is 0 in the last BN of each residual block, so that every
            block starts as the identity. False undoes timm's own zero gammas.
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
            # timm's residual blocks have this method for their last norm
            if zero_init_last := getattr(module, "zero_init_last", None):
                zero_init_last()


def _uniform(module: nn.Conv2d | nn.Linear, channels: int) -> None:
    bound = math.sqrt(6 / channels)
    nn.init.uniform_(module.weight, -bound, bound)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
