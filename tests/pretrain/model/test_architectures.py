"""Architectures: shapes, strides and parameters derived independently of timm; strict loading."""

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from core.errors import InputError
from pretrain.model import architectures

# The deep stem of ResNet-D instead of 7 x 7 x 3 x 64: three convolutions and two more norms.
DEEP_STEM = 9 * (3 * 32 + 32 * 32 + 32 * 64) + 2 * 2 * 32 - 49 * 3 * 64


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


TABLE_5 = ("resnet50_v1", "resnet50", "resnet50c", "resnet50d")


def test_resnet50_has_the_parameters_of_table_5() -> None:
    with torch.device("meta"):
        torchvisions = count(torchvision.models.resnet50())
        found = {arch: count(architectures.create(arch, 1000)) for arch in TABLE_5}

    assert round(torchvisions / 1e6, 1) == 25.6
    deep = torchvisions + DEEP_STEM
    assert list(found.values()) == [torchvisions, torchvisions, deep, deep]


@pytest.mark.parametrize(
    ("arch", "pixels", "parameters", "cost"),
    [("mobilenetv1_100", 224, 4.2e6, 569e6), ("inception_v3", 299, 23.8e6, 5.72e9)],
)
def test_mobilenet_and_inception_have_the_size_of_their_papers(
    arch: str, pixels: int, parameters: float, cost: float
) -> None:
    """MobileNet's table 4; Inception-V3 is usually counted without its auxiliary head."""
    with torch.device("meta"):
        model = architectures.create(arch, 1000).eval()
        with FlopCounterMode(display=False) as counter:
            assert model(torch.empty(1, 3, pixels, pixels)).shape == (1, 1000)

    assert count(model) == pytest.approx(parameters, rel=0.01)
    assert counter.get_total_flops() / 2 == pytest.approx(cost, rel=0.01)


def test_the_teacher_is_a_resnet_152_d() -> None:
    with torch.device("meta"):
        expected = count(torchvision.models.resnet152()) + DEEP_STEM
        assert count(architectures.create("resnet152d", 1000)) == expected


@pytest.mark.parametrize("arch", TABLE_5)
def test_resnet50_v1_has_the_stride_in_the_first_1x1_and_the_others_in_the_3x3(
    arch: str,
) -> None:
    with torch.device("meta"):
        model = architectures.create(arch, 1000)
    ones, strided = (1, 1), (2, 2)
    for layer in (model.layer2, model.layer3, model.layer4):
        first, second = layer[0].conv1, layer[0].conv2
        assert (first.kernel_size, second.kernel_size) == ((1, 1), (3, 3))
        expected = (strided, ones) if arch == "resnet50_v1" else (ones, strided)
        assert (first.stride, second.stride) == expected
    strides = [m.stride for m in model.modules() if isinstance(m, nn.Conv2d)]
    # the stem, and in three layers a convolution and a shortcut; D's shortcuts pool instead
    assert strides.count(strided) == (4 if arch == "resnet50d" else 7)


def test_resnet50_v1_computes_the_same_as_b_except_for_the_position_of_the_stride() -> None:
    """With the same weights, a block's first convolution computes only every second pixel."""
    torch.manual_seed(0)
    theirs = architectures.create("resnet50", 10).layer2[0].eval()
    mine = architectures.create("resnet50_v1", 10).layer2[0].eval()
    nn.init.uniform_(theirs.bn3.weight)
    architectures.load_strictly(mine, theirs.state_dict())
    x = torch.rand(1, 256, 8, 8)

    reduced = torch.relu(theirs.bn1(theirs.conv1(x)))[:, :, ::2, ::2]
    middle = torch.relu(theirs.bn2(nn.functional.conv2d(reduced, theirs.conv2.weight, padding=1)))
    expected = torch.relu(theirs.bn3(theirs.conv3(middle)) + theirs.downsample(x))

    with torch.no_grad():
        torch.testing.assert_close(mine(x), expected)
    assert mine(x).shape == theirs(x).shape == (1, 512, 4, 4)


@pytest.mark.parametrize("arch", ["resnet50c", "resnet10c_narrow"])
def test_c_has_the_deep_stem_and_the_shortcuts_of_b(arch: str) -> None:
    model = architectures.create(arch, 10)
    stem = [m for m in model.conv1 if isinstance(m, nn.Conv2d)]
    assert [(m.kernel_size, m.stride) for m in stem] == [((3, 3), (s, s)) for s in (2, 1, 1)]
    for layer in (model.layer2, model.layer3, model.layer4):
        conv, _ = layer[0].downsample
        assert (conv.kernel_size, conv.stride) == ((1, 1), (2, 2))


@pytest.mark.parametrize("arch", ["resnet50d", "resnet10d_narrow", "resnet18d_narrow"])
def test_d_has_the_stem_of_c_and_pools_in_its_shortcuts(arch: str) -> None:
    model = architectures.create(arch, 10)
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
    ("arch", "blocks"),
    [(f"resnet10{x}_narrow", 1) for x in ("", "c", "d")] + [("resnet18d_narrow", 2)],
)
def test_narrow_networks_have_half_the_channels(arch: str, blocks: int) -> None:
    model = architectures.create(arch, 7).eval()
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
    model = architectures.create(arch, 0, output_stride=8).eval()

    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 256)
    assert model.forward_features(torch.zeros(1, 3, 64, 64)).shape == (1, 256, 8, 8)


def test_an_unknown_architecture_is_refused_with_the_closest_name() -> None:
    with pytest.raises(InputError, match=r"unknown architecture 'resnet50dd'.*resnet50d"):
        architectures.create("resnet50dd", 10)


def test_the_classifiers_name() -> None:
    with torch.device("meta"):
        found = {
            arch: architectures.classifier(architectures.create(arch, 10))
            for arch in ("resnet50", "efficientnet_b0", "resnet10d_narrow", "convnext_tiny")
        }
        assert found == {
            "resnet50": "fc",
            "efficientnet_b0": "classifier",
            "resnet10d_narrow": "fc",
            "convnext_tiny": "head.fc",
        }
        with pytest.raises(InputError, match="head_dist"):
            architectures.classifier(architectures.create("deit_tiny_distilled_patch16_224", 10))


def test_load_strictly_names_every_tensor_that_does_not_fit() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors = dict(model.state_dict())
    tensors["1.gamma"] = tensors.pop("1.weight")
    tensors["0.bias"] = torch.zeros(5)

    with pytest.raises(InputError) as caught:
        architectures.load_strictly(model, tensors)

    message = str(caught.value)
    assert "3 tensors" in message
    assert "1.weight is not in the checkpoint" in message
    assert "1.gamma is not in the model" in message
    assert "0.bias is [5] in the checkpoint and [3] in the model" in message
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items()), "unchanged"


def test_load_strictly_copies() -> None:
    model = nn.BatchNorm2d(3)
    tensors = {name: torch.full_like(t, 5) for name, t in model.state_dict().items()}

    architectures.load_strictly(model, tensors)

    assert all(torch.all(t == 5) for t in model.state_dict().values())
