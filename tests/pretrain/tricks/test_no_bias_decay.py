"""Which parameters have weight decay, by their names and shapes."""

import re
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from timm.optim import param_groups_weight_decay
from torch import nn

from pretrain.model import architectures
from pretrain.tricks.no_bias_decay import no_bias_decay

# Convolutions and linear layers, counted by hand. ResNet-50: a stem, 16 blocks of 3, 4 shortcuts,
# a classifier; ResNet-50-D has two more in the stem. MobileNet: a stem, 13 pairs, a classifier.
# EfficientNet-B0: a stem, a head, a block of 4 (2 of them squeeze and excite), 15 blocks of 5, a
# classifier. ViT: 12 blocks of 4, a patch embedding, a classifier.
LAYERS = {
    "resnet50": 1 + 16 * 3 + 4 + 1,
    "resnet50d": 3 + 16 * 3 + 4 + 1,
    "mobilenetv1_100": 1 + 13 * 2 + 1,
    "efficientnet_b0": 1 + 1 + 4 + 15 * 5 + 1,
    "vit_tiny_patch16_224": 12 * 4 + 1 + 1,
}


ROOT = Path(__file__).resolve().parents[3]
TABLE_3 = Config.fromfile(ROOT / "configs/architectures.py").strikes_back_table3
ARCHITECTURES = sorted(
    {*TABLE_3.values(), *LAYERS, "inception_v3", "resnet50d", "resnet50_v1", "resnet10c_narrow"}
)

# timm's names of norms, biases, and the other parameters of transformers.
NOT_A_WEIGHT = re.compile(
    r"(^|\.)(bias|cls_token|pos_embed)$"
    r"|(^|\.)(bn|norm|gn|ln)\d*\.weight$"
    r"|(^|\.)(norm_pre|fc_norm|bn_[a-z_]+)\.weight$"
)


@cache
def shapes_of(arch: str) -> nn.Module:
    """A network on the meta device."""
    with torch.device("meta"):
        return architectures.create(arch, 10)


def names_of(groups: list[dict], model: nn.Module) -> list[list[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [[names[id(p)] for p in group["params"]] for group in groups]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_only_weights_of_convolutions_and_linear_layers_decay(arch: str) -> None:
    model = shapes_of(arch)

    decayed, others = groups = no_bias_decay(model, 1e-4)

    assert (decayed["weight_decay"], others["weight_decay"]) == (1e-4, 0.0)
    inside, outside = names_of(groups, model)
    shapes = {name: parameter.dim() for name, parameter in model.named_parameters()}
    assert sorted(inside + outside) == sorted(shapes), "each parameter once"
    # a convolution's weight has four dimensions (ECA's three), a linear layer's two, gamma one
    expected = {n for n, dim in shapes.items() if n.endswith(".weight") and dim in (2, 3, 4)}
    assert set(inside) == expected
    assert [name for name in inside if NOT_A_WEIGHT.search(name)] == []
    if arch in LAYERS:
        assert len(inside) == LAYERS[arch]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_decays_what_timm_decays(arch: str) -> None:
    """timm decides by the number of dimensions, and by the model's own list of exceptions."""
    model = shapes_of(arch)
    kept = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()

    theirs = param_groups_weight_decay(model, 1e-4, no_weight_decay_list=kept)

    assert [group["weight_decay"] for group in theirs] == [0.0, 1e-4]
    outside, inside = names_of(theirs, model)
    mine = names_of(no_bias_decay(model, 1e-4), model)
    assert [sorted(names) for names in mine] == [sorted(inside), sorted(outside)]


def test_names_of_a_resnet() -> None:
    model = architectures.create("resnet18d_narrow", 10)
    names = {id(parameter): name for name, parameter in model.named_parameters()}

    _, others = no_bias_decay(model, 1e-4)

    outside = {names[id(p)] for p in others["params"]}
    assert {"bn1.weight", "bn1.bias", "conv1.1.weight", "layer1.0.bn2.weight", "fc.bias"} <= outside
    assert not {"conv1.0.weight", "layer1.0.conv1.weight", "fc.weight"} & outside


def test_a_vits_positions_and_class_token_do_not_decay() -> None:
    model = architectures.create("vit_tiny_patch16_224", 10)
    _, others = no_bias_decay(model, 1e-4)

    outside = {id(p) for p in others["params"]}
    assert {id(model.pos_embed), id(model.cls_token)} <= outside


def test_a_frozen_parameter_is_left_out() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    model[0].weight.requires_grad_(False)

    decayed, others = no_bias_decay(model, 1e-4)

    assert decayed["params"] == []
    assert len(others["params"]) == 3


def test_a_step_without_gradient_shrinks_only_what_decays() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    sgd = torch.optim.SGD(no_bias_decay(model, 0.5), lr=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)

    sgd.step()

    for name, parameter in model.named_parameters():
        factor = 0.95 if name in ("0.weight", "3.weight") else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * factor)
