"""No bias decay (Bag of Tricks, section 3.1)."""

from torch import nn


def no_bias_decay(model: nn.Module, weight_decay: float) -> list[dict]:
    """Parameter groups with weight decay only for the weights of convolutions and linear layers.

    Biases and BN's gamma and beta have no weight decay.

    Returns:
        Two groups for a torch optimiser: with and without weight decay.
    """
    decayed = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)
    }
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if id(p) in decayed], "weight_decay": weight_decay},
        {"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]
