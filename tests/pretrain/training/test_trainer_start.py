"""The start of a run: its teacher and its initial weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core import exchange
from core.errors import InputError
from pretrain.model import architectures
from pretrain.recipe import Recipe
from pretrain.training.trainer import Job, build, load_teacher

MakeJob = Callable[..., Job]
SaveTeacher = Callable[..., Path]


# --- teachers


def test_a_teacher_is_frozen_and_as_saved(
    make_job: MakeJob, tiny_recipe: Recipe, save_teacher: SaveTeacher
) -> None:
    path = save_teacher(tiny_recipe)

    teacher = load_teacher(make_job(replace(tiny_recipe, distill="teacher"), teacher=path))

    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    saved, _ = exchange.load_exchange(path)
    assert all(torch.equal(saved[name], t) for name, t in teacher.state_dict().items())


def test_no_teacher_for_a_recipe_that_does_not_distil(
    make_job: MakeJob, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    assert load_teacher(make_job(tiny_recipe, teacher=tmp_path / "absent")) is None


def test_a_recipe_that_distils_needs_a_teacher(make_job: MakeJob, tiny_recipe: Recipe) -> None:
    with pytest.raises(InputError, match="distils from 'teacher'"):
        load_teacher(make_job(replace(tiny_recipe, distill="teacher")))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": 5}, "the teacher's classes: 5, the student's: 3"),
        ({"dataset": "imagenet"}, "the teacher's dataset: imagenet, the student's: tiny"),
        ({"mean": (0.5, 0.5, 0.5)}, r"the teacher's mean: \(0.5, 0.5, 0.5\), the student's: \(0.5"),
        ({"std": (1.0, 1.0, 1.0)}, r"the teacher's std: \(1.0"),
    ],
)
def test_a_teacher_of_something_else_is_refused(
    make_job: MakeJob, tiny_recipe: Recipe, save_teacher: SaveTeacher, changes: dict, words: str
) -> None:
    path = save_teacher(tiny_recipe, **changes)

    with pytest.raises(InputError, match=words) as error:
        load_teacher(make_job(replace(tiny_recipe, distill="teacher"), teacher=path))

    assert str(error.value).startswith(f"{path}: ")


# --- initial weights


def test_weights_start_as_the_paper_says_and_follow_the_seed(
    make_job: MakeJob, tiny_recipe: Recipe
) -> None:
    one, two, other = (build(make_job(tiny_recipe, seed=seed)) for seed in (3, 3, 4))

    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.fc.weight, other.fc.weight)
    assert torch.all(one.layer2[0].bn2.weight == 0)
    bound = math.sqrt(6 / (256 + 3))
    assert 0.9 * bound < one.fc.weight.abs().max() <= bound * (1 + 1e-6)
    standard = build(make_job(replace(tiny_recipe, zero_gamma=False)))
    assert torch.all(standard.layer2[0].bn2.weight == 1)


def source(classes: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    tensors = architectures.create("resnet10d_narrow", classes).state_dict()
    return {name: torch.rand_like(t) if t.is_floating_point() else t for name, t in tensors.items()}


@pytest.mark.parametrize("classes", [3, 40])
def test_given_weights_replace_all_but_the_classifier(
    make_job: MakeJob, tiny_recipe: Recipe, classes: int
) -> None:
    given = source(classes)
    random = build(make_job(tiny_recipe)).state_dict()

    found = build(make_job(tiny_recipe, initial=given)).state_dict()

    for name, tensor in found.items():
        expected = random if name in ("fc.weight", "fc.bias") else given
        assert torch.equal(tensor, expected[name]), name
    assert found["fc.weight"].shape == (3, 256)


def test_given_weights_without_a_classifier_do(make_job: MakeJob, tiny_recipe: Recipe) -> None:
    given = {name: tensor for name, tensor in source(3).items() if not name.startswith("fc.")}

    found = build(make_job(tiny_recipe, initial=given)).state_dict()

    assert all(torch.equal(found[name], tensor) for name, tensor in given.items())


def test_a_renamed_tensor_is_refused_by_its_names(make_job: MakeJob, tiny_recipe: Recipe) -> None:
    given = source(3)
    given["layer3.0.convolution1.weight"] = given.pop("layer3.0.conv1.weight")

    with pytest.raises(InputError) as error:
        build(make_job(tiny_recipe, initial=given))

    assert "layer3.0.conv1.weight is not in the checkpoint" in str(error.value)
    assert "layer3.0.convolution1.weight is not in the model" in str(error.value)


def test_weights_of_another_architecture_are_refused(
    make_job: MakeJob, tiny_recipe: Recipe
) -> None:
    given = architectures.create("resnet18d_narrow", 3).state_dict()

    with pytest.raises(InputError, match=r"layer1\.1\.conv1\.weight is not in the model"):
        build(make_job(tiny_recipe, initial=given))
