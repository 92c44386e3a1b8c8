"""Architectures and their initialisation: shapes, counts and bounds worked out apart from timm."""

import math

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from pretrain import models
from pretrain.errors import InputError

# What the deep stem of ResNet-D has in place of 7 x 7 x 3 x 64: three convolutions, two more norms.
DEEP_STEM = 9 * (3 * 32 + 32 * 32 + 32 * 64) + 2 * 2 * 32 - 49 * 3 * 64


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_resnet50_has_the_parameters_of_table_5() -> None:
    torchvisions = count(torchvision.models.resnet50())
    assert round(torchvisions / 1e6, 1) == 25.6

    assert count(models.create("resnet50", 1000)) == torchvisions
    assert count(models.create("resnet50d", 1000)) == torchvisions + DEEP_STEM


def test_the_teacher_is_a_resnet_152_d() -> None:
    with torch.device("meta"):
        expected = count(torchvision.models.resnet152()) + DEEP_STEM
        assert count(models.create("resnet152d", 1000)) == expected


def test_resnet50_is_the_papers_b() -> None:
    """Section 4: the stride is in the 3 x 3 convolution."""
    model = models.create("resnet50", 1000)
    for layer in (model.layer2, model.layer3, model.layer4):
        assert layer[0].conv1.stride == (1, 1)
        assert layer[0].conv2.stride == (2, 2)


@pytest.mark.parametrize("arch", ["resnet50d", "resnet10d_narrow", "resnet18d_narrow"])
def test_d_has_the_stem_of_c_and_pools_in_its_shortcuts(arch: str) -> None:
    model = models.create(arch, 10)
    stem = [m for m in model.conv1 if isinstance(m, nn.Conv2d)]
    assert [m.kernel_size for m in stem] == [(3, 3)] * 3
    assert [m.stride for m in stem] == [(2, 2), (1, 1), (1, 1)]
    if arch == "resnet50d":
        assert [m.out_channels for m in stem] == [32, 32, 64]
    for layer in (model.layer2, model.layer3, model.layer4):
        pool, conv = layer[0].downsample[:2]
        assert isinstance(pool, nn.AvgPool2d)
        assert (pool.kernel_size, pool.stride) == (2, 2)
        assert (conv.kernel_size, conv.stride) == ((1, 1), (1, 1))


@pytest.mark.parametrize(
    ("arch", "blocks"), [("resnet10_narrow", 1), ("resnet10d_narrow", 1), ("resnet18d_narrow", 2)]
)
def test_narrow_networks_have_half_the_channels(arch: str, blocks: int) -> None:
    model = models.create(arch, 7).eval()
    layers = (model.layer1, model.layer2, model.layer3, model.layer4)
    assert [len(layer) for layer in layers] == [blocks] * 4

    shapes = []
    x = model.maxpool(model.act1(model.bn1(model.conv1(torch.zeros(2, 3, 64, 64)))))
    for layer in layers:
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))

    assert shapes == [(32, 16, 16), (64, 8, 8), (128, 4, 4), (256, 2, 2)]
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 7)


@pytest.mark.parametrize("arch", ["resnet10_narrow", "resnet10d_narrow", "resnet18d_narrow"])
def test_narrow_networks_build_without_a_classifier_and_dilated(arch: str) -> None:
    model = models.create(arch, 0, output_stride=8).eval()

    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 256)
    assert model.forward_features(torch.zeros(1, 3, 64, 64)).shape == (1, 256, 8, 8)


def test_an_unknown_architecture_offers_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown architecture 'resnet50dd'.*resnet50d"):
        models.create("resnet50dd", 10)


def fans(weight: torch.Tensor) -> tuple[int, int]:
    area = int(np.prod(weight.shape[2:]))
    return weight.shape[1] * area, weight.shape[0] * area


@pytest.mark.parametrize("arch", ["resnet50", "resnet10d_narrow"])
def test_weights_are_uniform_within_xaviers_bound(arch: str) -> None:
    torch.manual_seed(0)
    model = models.create(arch, 1000)
    models.initialise(model, zero_gamma=False)

    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    # a stem, blocks, shortcuts (none where the stem has as many channels as layer 1), a classifier
    assert len(weights) == {"resnet50": 1 + 48 + 4 + 1, "resnet10d_narrow": 3 + 8 + 3 + 1}[arch]
    for weight in weights:
        w = weight.detach().double().numpy().ravel()
        fan_in, fan_out = fans(weight)
        a = math.sqrt(6 / (fan_in + fan_out))
        assert np.abs(w).max() <= a * (1 + 1e-6)
        # n draws all stay below a (1 - t) with probability (1 - t)^n, about e^-20 at t = 20 / n
        assert np.abs(w).max() >= a * (1 - 20 / w.size)
        # a uniform variable has kurtosis 9/5: its sample deviation varies by sqrt(0.2 / n)
        assert w.std() == pytest.approx(a / math.sqrt(3), rel=6 * math.sqrt(0.2 / w.size))
        assert abs(w.mean()) < 6 * a / math.sqrt(3 * w.size)


def test_biases_and_norms_start_as_in_the_paper() -> None:
    model = models.create("resnet18d_narrow", 10)
    for parameter in model.parameters():
        nn.init.constant_(parameter, 7)

    models.initialise(model, zero_gamma=False)

    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            assert torch.all(parameter == (1 if name.endswith("weight") else 0)), name


# The last norm of a bottleneck is its third, of a basic block its second.
BLOCKS = {
    "resnet50": (16, "bn3"),
    "resnet50d": (16, "bn3"),
    "resnet18d": (8, "bn2"),
    "resnet10d_narrow": (4, "bn2"),
}


@pytest.mark.parametrize("arch", BLOCKS)
@pytest.mark.parametrize("on", [True, False])
def test_zero_gamma_is_in_the_last_norm_of_each_block(arch: str, on: bool) -> None:
    model = models.create(arch, 10)
    models.initialise(model, zero_gamma=on)

    norms = {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    zero = {n for n, m in norms.items() if torch.all(m.weight == 0)}
    one = {n for n, m in norms.items() if torch.all(m.weight == 1)}
    blocks, last = BLOCKS[arch]
    of_blocks = {n for n in norms if n.startswith("layer") and n.endswith(last)}
    assert len(of_blocks) == blocks
    assert zero == (of_blocks if on else set())
    assert one == set(norms) - zero


def test_with_zero_gamma_a_block_starts_as_its_shortcut() -> None:
    model = models.create("resnet18d_narrow", 10).eval()
    models.initialise(model, zero_gamma=True)
    x = torch.rand(2, 64, 8, 8)

    out = model.layer2[1](x)  # no downsampling: the shortcut is the identity, followed by a ReLU

    assert torch.equal(out, x)


def test_the_classifiers_name() -> None:
    with torch.device("meta"):
        found = {
            arch: models.classifier(models.create(arch, 10))
            for arch in ("resnet50", "efficientnet_b0", "resnet10d_narrow", "convnext_tiny")
        }
        assert found == {
            "resnet50": "fc",
            "efficientnet_b0": "classifier",
            "resnet10d_narrow": "fc",
            "convnext_tiny": "head.fc",
        }
        with pytest.raises(InputError, match="head_dist"):
            models.classifier(models.create("deit_tiny_distilled_patch16_224", 10))


def test_load_strictly_names_every_tensor_that_does_not_fit() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors = dict(model.state_dict())
    tensors["1.gamma"] = tensors.pop("1.weight")
    tensors["0.bias"] = torch.zeros(5)

    with pytest.raises(InputError) as caught:
        models.load_strictly(model, tensors)

    message = str(caught.value)
    assert "3 tensors" in message
    assert "1.weight is not in the checkpoint" in message
    assert "1.gamma is not in the model" in message
    assert "0.bias is [5] in the checkpoint and [3] in the model" in message
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items()), "left as it was"


def test_load_strictly_copies() -> None:
    model = nn.BatchNorm2d(3)
    tensors = {name: torch.full_like(t, 5) for name, t in model.state_dict().items()}

    models.load_strictly(model, tensors)

    assert all(torch.all(t == 5) for t in model.state_dict().values())
