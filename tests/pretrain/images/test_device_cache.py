"""A training set on the device gives the loader's batches, up to rounding in the resizing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from pretrain.images import datasets, device_cache, loader
from pretrain.recipe import Recipe
from pretrain.training import loop
from pretrain.training.trainer import Trainer

CPU = torch.device("cpu")
MakeImages = Callable[..., datasets.ImageSet]
MakeJob = Callable[..., loop.Job]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("side", [8, 24, 40, 64])
def test_resized_crops_are_torchs(interpolation: str, side: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 40, 56, 3), dtype=np.uint8)
    boxes = [(0, 0, 56, 40), (3, 5, 43, 35), (10, 0, 15, 40), (55, 39, 56, 40), (1, 2, 9, 9)]
    boxes.append((20, 10, 44, 34))
    found = device_cache.resized_crops(
        torch.from_numpy(images).permute(0, 3, 1, 2),
        torch.tensor(boxes, dtype=torch.float64),
        side,
        interpolation,
    )
    for resized, image, (left, upper, right, lower) in zip(found, images, boxes, strict=True):
        crop = torch.from_numpy(image[upper:lower, left:right]).permute(2, 0, 1)[None]
        expected = F.interpolate(crop, (side, side), mode=interpolation, antialias=True)[0]
        difference = (resized.int() - expected.int()).abs()
        assert difference.max() <= 2, "of 255: torch's weights have few bits"
        assert difference.float().mean() < 0.15


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_weights_are_those_of_torchs_antialiased_resizing(interpolation: str) -> None:
    """Resizing the unit vectors gives the weights."""
    begin, end, length, side = 3, 17, 20, 5
    found = device_cache.axis_weights(
        torch.tensor([float(begin)]), torch.tensor([float(end)]), length, side, interpolation
    )[0]
    units = torch.eye(end - begin)[None, None]
    expected = F.interpolate(
        units, (end - begin, side), mode=interpolation, antialias=True, align_corners=False
    )[0, 0].T
    torch.testing.assert_close(found[:, begin:end], expected, atol=1e-6, rtol=0)
    assert not found[:, :begin].any()
    assert not found[:, end:].any()


@pytest.mark.parametrize("randaugment", [None, "rand-m7-mstd0.5-inc1"])
def test_a_batch_is_the_loaders(
    make_images: MakeImages, tiny_recipe: Recipe, randaugment: str | None
) -> None:
    recipe = replace(tiny_recipe, randaugment=randaugment, train_resolution=20)
    images = make_images(48)
    cached = device_cache.load(images, CPU)
    assert cached is not None
    keys = [(epoch, index, copy) for epoch in range(3) for index in range(48) for copy in (0, 1)]
    theirs = [loader.TrainingView(images, recipe, 3)[key] for key in keys]
    view = device_cache.AugmentationParameters(cached, recipe, 3)
    mine = [view[key] for key in keys]
    assert [label for _, label, _ in mine] == [label for _, label, _ in theirs]

    parameters = torch.stack([row for row, *_ in mine])
    found = device_cache.augment(cached, parameters, recipe).numpy().astype(int)
    expected = np.stack([pixels.numpy() for pixels, *_ in theirs]).astype(int)

    difference = np.abs(found - expected)
    assert np.median(difference.mean(axis=(1, 2, 3))) < 0.1
    if randaugment is None:
        assert difference.max() <= 2
    else:  # an equalisation or a threshold can enlarge a rounding difference
        assert difference.mean() < 0.5
        assert (difference.mean(axis=(1, 2, 3)) > 5).mean() < 0.02


def test_a_run_learns_as_with_the_loader(make_job: MakeJob, tiny_recipe: Recipe) -> None:
    """The first losses differ by rounding only; with crops shifted by a pixel they differ more."""
    settings = replace(tiny_recipe, epochs=2)

    def losses(out: str, shift: int = 0, **changes: bool) -> list[float]:
        trainer = Trainer(make_job(settings, out, **changes))
        if shift:
            shifted = torch.roll(trainer.resident.pixels, (-shift, -shift), (2, 3))
            trainer.resident = replace(trainer.resident, pixels=shifted)
        view = trainer.training_view()
        batches = loader.EpochBatches(48, 16, seed=3, epoch=0)
        return [
            trainer.train_step([batch]).item()
            for batch in loader.batches_of(loader.training(view, batches, 0))
        ]

    loaded, cached = losses("loaded"), losses("cached", resident=True)
    assert cached[:2] == pytest.approx(loaded[:2], abs=2e-3)

    shifted = losses("shifted", shift=1, resident=True)
    assert shifted[:2] != pytest.approx(loaded[:2], abs=2e-3)


def test_workers_change_nothing(make_job: MakeJob, tiny_recipe: Recipe) -> None:
    settings = replace(tiny_recipe, epochs=1, randaugment="rand-m7-mstd0.5-inc1")
    none, two = (
        loop.fit(make_job(settings, f"run{number}", workers=number, resident=True))
        for number in (0, 2)
    )
    assert none.right.tolist() == two.right.tolist()
    for name, tensor in none.tensors.items():
        assert torch.equal(tensor, two.tensors[name])


def test_an_unreadable_image_is_replaced_by_the_next_readable_one(tmp_path: Path) -> None:
    for i in range(6):
        Image.new("RGB", (9, 7), (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
    for i in (2, 3, 5):
        (tmp_path / f"{i}.png").write_bytes(b"")
    files = tuple(f"{i}.png" for i in range(6))
    images = datasets.ImageSet("x", "x", "train", ("a", "b"), np.arange(6) % 2, tmp_path, files)

    cached = device_cache.load(images, CPU)

    assert cached.pixels[:, 0, 0, 0].tolist() == [0, 40, 160, 160, 160, 0]
    assert cached.labels.tolist() == [0, 1, 0, 0, 0, 0]
    assert [path for path, _ in cached.problems] == [str(tmp_path / f"{i}.png") for i in (2, 3, 5)]
    assert cached.size == (9, 7)


def test_images_of_several_sizes_are_not_cached(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, size in enumerate(((8, 8), (9, 8))):
        Image.new("RGB", size).save(tmp_path / f"{i}.png")
    files = ("0.png", "1.png")
    images = datasets.ImageSet("x", "x", "train", ("a",), np.zeros(2, int), tmp_path, files)
    assert device_cache.load(images, CPU) is None
    assert "several sizes (8 x 8, 9 x 8 ...)" in capsys.readouterr().out
