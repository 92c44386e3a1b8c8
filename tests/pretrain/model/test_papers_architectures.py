"""Other architectures under a recipe: Strikes Back's table 3, its resolutions, stochastic depth."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from mmengine.config import Config
from torch import nn

from core.errors import InputError
from pretrain import recipe
from pretrain.model import architectures, initialisation

ROOT = Path(__file__).resolve().parents[3]
TABLE_3 = yaml.safe_load((ROOT / "results/papers/strikes-back.yaml").read_text())["tables"]["3"]
NAMES = dict(Config.fromfile(ROOT / "configs/architectures.py").strikes_back_table3)


def pixels(row: str, name: str) -> tuple[int, int]:
    """The table's training and test resolution of a row under A1, A2 or A3."""
    printed = dict(zip(TABLE_3["columns"], TABLE_3["rows"][row], strict=True))
    which = "a3" if name == "a3" else "a12"
    return printed[f"{which}_train_res"], printed[f"{which}_test_res"]


def test_every_row_of_table_3_has_a_timm_architecture() -> None:
    assert list(NAMES) == list(TABLE_3["rows"])
    assert len(NAMES) == len(set(NAMES.values())) == 25
    assert [arch for arch in NAMES.values() if not timm.is_model(arch)] == []


# Parameters in millions, from timm's documentation.
MILLIONS = {
    "resnet18": 11.7, "resnet34": 21.8, "resnet50": 25.6, "resnet101": 44.5, "resnet152": 60.2,
    "regnety_040": 20.6, "regnety_080": 39.2, "regnety_160": 83.6, "regnety_320": 145.0,
    "seresnet50": 28.1, "senet154": 115.1, "resnet50d": 25.6, "resnext50_32x4d": 25.0,
    "efficientnet_b0": 5.3, "efficientnet_b1": 7.8, "efficientnet_b2": 9.1,
    "efficientnet_b3": 12.2, "efficientnet_b4": 19.3, "vit_tiny_patch16_224": 5.7,
    "vit_small_patch16_224": 22.1, "vit_base_patch16_224": 86.6, "ecaresnet50t": 25.6,
    "efficientnetv2_rw_s": 23.9, "efficientnetv2_rw_m": 53.2, "ecaresnet269d": 102.1,
}  # fmt: skip


@cache
def own_recipe(name: str) -> recipe.Recipe:
    return recipe.load(name, "paper", {})


@pytest.mark.parametrize("row", TABLE_3["rows"])
def test_a_row_builds_at_its_resolutions_under_a1_a2_and_a3(row: str) -> None:
    arch = NAMES[row]
    built = {}
    for name in ("a1", "a2", "a3"):
        found = recipe.load(name, "paper", {}, arch=arch)

        train, evaluation = pixels(row, name)
        changes = dict(arch=arch, train_resolution=train, eval_resolution=evaluation)
        assert found == dataclasses.replace(own_recipe(name), **changes), "and nothing else"
        built[found.eval_resolution, found.drop_path] = found

    for found in built.values():
        with torch.device("meta"):
            model = architectures.for_training(arch, 1000, found.eval_resolution, found.drop_path)
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        assert millions == pytest.approx(MILLIONS[arch], abs=0.051)
        assert isinstance(architectures.classifier(model), str)


KINDS = ["ResNet-18", "RegNetY-4GF", "SE-ResNet-50", "ViT-Ti", "ECA-ResNet-50-T"]
KINDS += ["EfficientNet-B1", "EfficientNet-B4", "EfficientNetV2-rw-S"]


@pytest.mark.parametrize("row", KINDS)
def test_a_row_runs_at_its_resolutions(row: str) -> None:
    """On the meta device: shapes only, no memory."""
    with torch.device("meta"):
        model = architectures.for_training(NAMES[row], 7, pixels(row, "a3")[1], 0.0).eval()
        for side in set(pixels(row, "a3")):
            assert model(torch.empty(1, 3, side, side)).shape == (1, 7)


def test_a_vit_is_trained_at_160_and_tested_at_224() -> None:
    """Its position embeddings are 14 x 14 as in the test, interpolated to 10 x 10 for training."""
    torch.manual_seed(0)
    model = architectures.for_training("vit_tiny_patch16_224", 5, 224, 0.0)
    assert model.pos_embed.shape == (1, 1 + 14 * 14, 192)
    seen = {}
    model.blocks[0].register_forward_pre_hook(lambda _, x: seen.update(tokens=x[0].shape[1]))
    nn.init.normal_(model.head.weight)

    for side, tokens in ((160, 1 + 10 * 10), (224, 1 + 14 * 14)):
        out = model(torch.rand(2, 3, side, side))
        assert seen["tokens"] == tokens
        assert out.shape == (2, 5)
        model.zero_grad()
        out.square().sum().backward()
        assert torch.isfinite(model.pos_embed.grad).all()
        assert (model.pos_embed.grad[0].abs().sum(dim=1) > 0).all(), "every position is used"


def test_a_vits_embeddings_have_the_test_size_at_other_resolutions_too() -> None:
    with torch.device("meta"):
        model = architectures.for_training("vit_tiny_patch16_224", 5, 64, 0.0)

    assert model.pos_embed.shape == (1, 1 + 4 * 4, 192)


@pytest.mark.parametrize("name", ["b-standard", "d-efficient"])
def test_bag_of_tricks_feeds_inception_299_and_mobilenet_224_pixels(name: str) -> None:
    inception, mobilenet = (
        recipe.load(name, "paper", {}, arch=arch) for arch in ("inception_v3", "mobilenetv1_100")
    )

    assert (inception.train_resolution, inception.eval_resolution) == (299, 299)
    assert (mobilenet.train_resolution, mobilenet.eval_resolution) == (224, 224)
    with torch.device("meta"):
        for settings in (inception, mobilenet):
            model = architectures.for_training(settings.arch, 9, settings.eval_resolution, 0.0)
            side = settings.train_resolution
            # one output in training too: no auxiliary classifier
            assert model.train()(torch.empty(2, 3, side, side)).shape == (2, 9)


def test_an_unlisted_architecture_keeps_the_recipes_resolutions() -> None:
    for name, sizes in (("a1", (224, 224)), ("a3", (160, 224)), ("best", (224, 224))):
        found = recipe.load(name, "paper", {}, arch="convnext_tiny")
        assert (found.train_resolution, found.eval_resolution) == sizes


def test_a_protocol_scales_an_architectures_resolutions() -> None:
    """At 64 / 224: 299 become 85.4, A3's 160 and 224 become 45.7 and 64."""

    def sizes(name: str, **rest: str) -> tuple[int, int]:
        found = recipe.load(name, "mini", {}, **rest)
        return found.train_resolution, found.eval_resolution

    assert sizes("b-standard", arch="inception_v3") == (85, 85)
    assert sizes("a3") == (46, 64)
    assert sizes("a3", arch="efficientnetv2_rw_m") == (73, 101)  # 256 and 352


def test_options_override_an_architectures_resolutions() -> None:
    found = recipe.load("a3", "paper", {"train_resolution": 128}, arch="efficientnet_b4")

    assert (found.train_resolution, found.eval_resolution) == (128, 380)


def test_an_unknown_architecture_is_refused_when_it_is_built() -> None:
    with pytest.raises(InputError, match=r"unknown architecture 'resnet51'.*resnet5"):
        architectures.for_training("resnet51", 10, 224, 0.05)
    with pytest.raises(InputError, match=r"^inception_v3.* built .*drop_path_rate"):
        architectures.for_training("inception_v3", 10, 299, 0.05)


# --- stochastic depth


def drop_rates(model: nn.Module) -> list[list[float]]:
    """The drop rates of each residual block; a transformer's has two, for attention and MLP."""
    names = ("drop_path", "drop_path1", "drop_path2")
    found = []
    for module in model.modules():
        drops = [getattr(module, name) for name in names if hasattr(module, name)]
        if drops:
            found.append([getattr(drop, "drop_prob", 0.0) for drop in drops])
    return found


# The number of blocks in the paper, and the index of the block with the full rate: the last. timm
# divides an EfficientNet's by the number of blocks instead, so that its last stays a little below.
DEPTHS = {
    "resnet18": (8, 7),
    "resnet50": (16, 15),
    "resnet50d": (16, 15),
    "seresnet50": (16, 15),
    "resnext50_32x4d": (16, 15),
    "ecaresnet50t": (16, 15),
    "resnet10d_narrow": (4, 3),
    "regnety_040": (22, 21),
    "vit_tiny_patch16_224": (12, 11),
    "efficientnet_b0": (16, 16),
    "efficientnetv2_rw_s": (2 + 4 + 4 + 6 + 9 + 15, 40),
}


@pytest.mark.parametrize("rate", [0.05, 0.2])
@pytest.mark.parametrize("arch", DEPTHS)
def test_drop_rates_grow_linearly_from_0_to_the_rate(arch: str, rate: float) -> None:
    blocks, last = DEPTHS[arch]
    with torch.device("meta"):
        found = drop_rates(architectures.for_training(arch, 10, 224, rate))

    assert len(found) == blocks
    assert len({len(drops) for drops in found}) == 1
    for i, drops in enumerate(found):
        np.testing.assert_allclose(drops, rate * i / last, rtol=1e-5)


@pytest.mark.parametrize("arch", DEPTHS)
def test_no_stochastic_depth_unless_asked_for(arch: str) -> None:
    with torch.device("meta"):
        found = drop_rates(architectures.for_training(arch, 10, 224, 0.0))

    assert {rate for drops in found for rate in drops} == {0.0}


def small(drop_path: float) -> nn.Module:
    torch.manual_seed(0)
    model = architectures.for_training("resnet10d_narrow", 6, 32, drop_path)
    initialisation.initialise(
        model, xavier=True, zero_gamma=False
    )  # zero gammas would leave nothing to drop
    return model


def out(model: nn.Module, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    with torch.no_grad():
        return model(torch.linspace(0, 1, 8 * 3 * 32 * 32).view(8, 3, 32, 32))


def test_torchs_seed_decides_which_blocks_are_dropped() -> None:
    model = small(0.5)

    assert torch.equal(out(model, 1), out(model, 1))
    assert not torch.equal(out(model, 1), out(model, 2))
    model.eval()
    assert torch.equal(out(model, 1), out(model, 2)), "evaluation drops nothing"
    plain = small(0.0)
    assert torch.equal(out(plain, 1), out(plain, 2))


def test_a_dropped_branch_is_0_for_a_whole_sample_and_a_kept_one_is_scaled_up() -> None:
    """The last block drops half: each sample is its shortcut, or has twice the branch."""
    block = small(0.5).layer4[0].train()
    block.act2 = nn.Identity()
    x = torch.rand(400, 128, 2, 2)
    with torch.no_grad():
        dropped, block.drop_path.drop_prob = block(x), 0.0
        whole, shortcut = block(x), block.downsample(x)

    branch = whole - shortcut
    kept = (dropped - shortcut).flatten(1).abs().amax(dim=1) > 1e-4
    scale = torch.where(kept, 2.0, 0.0)[:, None, None, None]
    torch.testing.assert_close(dropped, shortcut + scale * branch, rtol=1e-4, atol=1e-4)
    assert abs(kept.double().mean().item() - 0.5) < 5 * 0.5 / 20
