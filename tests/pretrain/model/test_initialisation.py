"""Initialisation: Xavier's bound, and zero gammas at the end of residual blocks."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from pretrain.model import architectures, initialisation

# A stem, blocks, shortcuts (none where the stem has as many channels as layer 1), a classifier.
LAYERS = {
    "resnet50": 1 + 48 + 4 + 1,
    "resnet10d_narrow": 3 + 8 + 3 + 1,
    "mobilenetv1_100": 1 + 13 * 2 + 1,
}


def channels(layer: nn.Module) -> tuple[int, int]:
    """Input and output channels, for any kernel and number of groups."""
    if isinstance(layer, nn.Linear):
        return layer.weight.shape[1], layer.weight.shape[0]
    return layer.weight.shape[1] * layer.groups, layer.weight.shape[0]


@pytest.mark.parametrize("arch", LAYERS)
def test_weights_are_uniform_within_the_papers_bound(arch: str) -> None:
    """Section 2.1: U[-a, a], a = sqrt(6 / (d_in + d_out)), with d numbers of channels."""
    torch.manual_seed(0)
    model = architectures.create(arch, 1000)
    initialisation.initialise(model, xavier=True, zero_gamma=False)

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == LAYERS[arch]
    for layer in layers:
        w = layer.weight.detach().double().numpy().ravel()
        a = math.sqrt(6 / sum(channels(layer)))
        assert np.abs(w).max() <= a * (1 + 1e-6)
        # n draws all stay below a (1 - t) with probability (1 - t)^n, about e^-20 at t = 20 / n
        assert np.abs(w).max() >= a * (1 - 20 / w.size)
        # a uniform variable has kurtosis 9/5: its sample deviation varies by sqrt(0.2 / n)
        assert w.std() == pytest.approx(a / math.sqrt(3), rel=6 * math.sqrt(0.2 / w.size))
        assert abs(w.mean()) < 6 * a / math.sqrt(3 * w.size)
        assert layer.bias is None or torch.all(layer.bias == 0)


def test_biases_and_norms_start_as_in_the_paper() -> None:
    model = architectures.create("resnet18d_narrow", 10)
    for parameter in model.parameters():
        nn.init.constant_(parameter, 7)

    initialisation.initialise(model, xavier=True, zero_gamma=False)

    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            assert torch.all(parameter == (1 if name.endswith("weight") else 0)), name


# Each network's number of residual blocks in its paper, and the last norm of a block: the third of
# a bottleneck, the second of a basic block.
BLOCKS = {
    "resnet18": (2 + 2 + 2 + 2, "bn2"),
    "resnet34": (3 + 4 + 6 + 3, "bn2"),
    **dict.fromkeys(
        ("resnet50", "resnet50_v1", "resnet50c", "resnet50d", "seresnet50", "resnext50_32x4d"),
        (3 + 4 + 6 + 3, "bn3"),
    ),
    "ecaresnet50t": (3 + 4 + 6 + 3, "bn3"),
    "resnet101": (3 + 4 + 23 + 3, "bn3"),
    **dict.fromkeys(("resnet152", "resnet152d", "senet154"), (3 + 8 + 36 + 3, "bn3")),
    "ecaresnet269d": (3 + 30 + 48 + 8, "bn3"),
    "regnety_040": (2 + 6 + 12 + 2, "conv3.bn"),
    "regnety_080": (2 + 4 + 10 + 1, "conv3.bn"),
    "regnety_160": (2 + 4 + 11 + 1, "conv3.bn"),
    "regnety_320": (2 + 5 + 12 + 1, "conv3.bn"),
    **{f"resnet10{x}_narrow": (4, "bn2") for x in ("", "c", "d")},
    "resnet18d_narrow": (8, "bn2"),
}


def only_norms(arch: str, gamma: float) -> nn.Module:
    """A network in which only the norms have values: fast even for the largest."""
    with torch.device("meta"):
        model = architectures.create(arch, 10)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight = nn.Parameter(torch.full(module.weight.shape, gamma, device="cpu"))
            module.bias = nn.Parameter(torch.full(module.bias.shape, 7.0, device="cpu"))
    return model


@pytest.mark.parametrize("xavier", [True, False])
@pytest.mark.parametrize("arch", BLOCKS)
def test_zero_gamma_is_set_in_the_last_norm_of_each_block_only(arch: str, xavier: bool) -> None:
    model = only_norms(arch, 7.0)
    norms = {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    blocks, last = BLOCKS[arch]
    of_blocks = {n for n in norms if n.endswith(f".{last}")}
    assert len(of_blocks) == blocks

    for zero_gamma in (True, False):
        initialisation.initialise(model, xavier=xavier, zero_gamma=zero_gamma)

        zero = {n for n, m in norms.items() if torch.all(m.weight == 0)}
        one = {n for n, m in norms.items() if torch.all(m.weight == 1)}
        assert zero == (of_blocks if zero_gamma else set())
        assert one == set(norms) - zero
        assert all(torch.all(m.bias == 0) for m in norms.values())


@pytest.mark.parametrize("xavier", [True, False])
def test_timms_own_zero_gamma_is_undone_without_zero_gamma(xavier: bool) -> None:
    model = architectures.create("resnet50", 10)
    assert torch.all(model.layer1[0].bn3.weight == 0)

    initialisation.initialise(model, xavier=xavier, zero_gamma=False)

    assert torch.all(model.layer1[0].bn3.weight == 1)


@pytest.mark.parametrize("zero_gamma", [True, False])
def test_without_xavier_timms_weights_are_kept(zero_gamma: bool) -> None:
    model = architectures.create("resnet18d_narrow", 10)
    kept = {n: p.detach().clone() for n, p in model.named_parameters() if p.dim() > 1}
    kept["fc.bias"] = model.fc.bias.detach().clone()

    initialisation.initialise(model, xavier=False, zero_gamma=zero_gamma)

    for name, before in kept.items():
        assert torch.equal(model.get_parameter(name), before), name


@pytest.mark.parametrize("xavier", [True, False])
@pytest.mark.parametrize(
    "arch",
    [
        "resnet18",
        "resnet50_v1",
        "resnet50d",
        "resnet10d_narrow",
        "seresnet50",
        "resnext50_32x4d",
        "ecaresnet50t",
        "regnety_040",
    ],
)
def test_with_zero_gamma_every_block_starts_as_its_shortcut(arch: str, xavier: bool) -> None:
    torch.manual_seed(0)
    model = architectures.create(arch, 10).eval()
    initialisation.initialise(model, xavier=xavier, zero_gamma=True)
    same: list[bool] = []

    def compare(block: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        (x,) = inputs
        shortcut = x if block.downsample is None else block.downsample(x)
        same.append(torch.equal(output, shortcut.relu()))

    for module in model.modules():
        if hasattr(module, "conv1") and hasattr(module, "downsample"):
            module.register_forward_hook(compare)

    with torch.no_grad():
        model(torch.rand(1, 3, 32, 32))
        assert same == [True] * BLOCKS[arch][0]
        same.clear()
        initialisation.initialise(model, xavier=xavier, zero_gamma=False)
        model(torch.rand(1, 3, 32, 32))
        assert same == [False] * BLOCKS[arch][0]


@pytest.mark.parametrize("arch", ["inception_v3", "mobilenetv1_100", "vit_tiny_patch16_224"])
def test_a_network_without_batch_norm_at_the_end_of_residual_blocks_has_no_zero_gamma(
    arch: str,
) -> None:
    model = architectures.create(arch, 10)
    initialisation.initialise(model, xavier=True, zero_gamma=True)

    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d | nn.LayerNorm)]
    assert len(norms) > 20
    assert all(torch.all(m.weight == 1) for m in norms)
