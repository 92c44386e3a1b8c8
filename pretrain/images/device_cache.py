"""Image sets that are decoded once and stay on the device as uint8; crops and flips are made there.

What is random is drawn where the loader draws it, from the same streams, and in its processes: a
batch of the loader holds draws in place of pixels. So a run sees what it would see without this,
but for the rounding of the resizing (benchmarks/resident.py measures both).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from core.errors import InputError
from core.runtime.rng import generator
from pretrain.images import batched_randaugment, decode, transforms
from pretrain.images.datasets import ImageSet
from pretrain.images.loader import EvaluationView, Problems, Sample
from pretrain.recipe import Recipe
from pretrain.tricks.randaugment import policy

CUBIC = -0.5  # the cubic's free parameter, as Pillow's and torch's antialiased resizing has it
GEOMETRY = 6  # of a sample's draws: its number, left, upper, right, lower, whether it is flipped


@dataclass(frozen=True)
class Resident:
    """A training set on a device.

    Attributes:
        pixels: uint8 [N, 3, H, W].
        labels: [N] of class indices, on the host. In place of a picture that cannot be read stands
            the next one that can, with its own label, as in the loader.
        problems: those pictures, and the reasons.
    """

    pixels: Tensor
    labels: np.ndarray
    problems: Problems

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[3], self.pixels.shape[2]


def load(images: ImageSet, device: torch.device) -> Resident | None:
    """Decodes a training set; None, and a line that says so, where it cannot be kept.

    That is so if its pictures are not all of one size, or do not fit into the device's memory.

    Raises:
        InputError: none can be read.
    """
    decoded: dict[int, np.ndarray] = {}
    problems: Problems = []
    for index in range(len(images)):
        try:
            decoded[index] = np.asarray(decode.whole(images.source(index)))
        except decode.Unreadable as error:
            problems.append((images.path(index), str(error)))
    if not decoded:
        raise InputError(f"{images.root}: none of the {len(images)} images can be read")
    sizes = {pixels.shape for pixels in decoded.values()}
    if len(sizes) > 1:
        shown = ", ".join(f"{w} x {h}" for h, w, _ in sorted(sizes)[:3])
        _say(images, f"its pictures are of several sizes ({shown} ...)")
        return None
    readable = np.array(sorted(decoded))
    # the next that can be read, and after the last the first
    following = np.searchsorted(readable, np.arange(len(images))) % len(readable)
    chosen = readable[following]
    block = np.stack([decoded[index] for index in chosen])
    try:
        pixels = torch.from_numpy(block).permute(0, 3, 1, 2).contiguous().to(device)
    except torch.OutOfMemoryError:
        _say(images, f"{block.nbytes / 1e9:.1f} GB do not fit into its memory")
        return None
    return Resident(pixels, images.labels[chosen], problems)


def _say(images: ImageSet, reason: str) -> None:
    print(f"{images.name} is not kept on the device: {reason}", flush=True)


class Draws(Dataset):
    """In a TrainingView's place: what it would draw, in place of the pixels it would make of it."""

    def __init__(self, resident: Resident, recipe: Recipe, seed: int) -> None:
        self.labels, self.size = resident.labels, resident.size
        self.recipe, self.seed = recipe, seed

    def __getitem__(self, place: tuple[int, int, int]) -> Sample:
        """A sample's draws [GEOMETRY + ...] in float64, its label, and no problem."""
        _, index, _ = place
        rng = generator("sample", self.seed, *place)
        box = transforms.random_crop_box(rng, *self.size)
        draws: list[float] = [index, *box, rng.random() < 0.5]
        if self.recipe.randaugment is not None:
            side = self.recipe.train_resolution
            apply = policy(self.recipe.randaugment, side, self.recipe.mean)
            draws += batched_randaugment.plan(rng, apply)
        return torch.tensor(draws, dtype=torch.float64), int(self.labels[index]), []


def batch(resident: Resident, draws: Tensor, recipe: Recipe) -> Tensor:
    """What a TrainingView would have made of these draws [n, GEOMETRY + ...].

    Returns:
        uint8 [n, 3, R, R] on the device, R the recipe's training resolution.
    """
    device = resident.pixels.device
    numbers, boxes = draws[:, 0].long().to(device), draws[:, 1:5].to(device)
    pixels = resized_crops(
        resident.pixels[numbers], boxes, recipe.train_resolution, recipe.interpolation
    )
    flipped = draws[:, 5].bool().to(device)
    pixels = torch.where(flipped[:, None, None, None], pixels.flip(3), pixels)
    if recipe.randaugment is not None:
        fill = [round(255 * channel) for channel in recipe.mean]
        pixels = batched_randaugment.apply(pixels, draws[:, GEOMETRY:], fill)
    return pixels


def resized_crops(images: Tensor, boxes: Tensor, side: int, interpolation: str) -> Tensor:
    """Each image's own crop, resized with antialiasing.

    Args:
        images: uint8 [n, 3, H, W]; boxes: [n, 4] of left, upper, right, lower in whole pixels.

    Returns:
        uint8 [n, 3, side, side].
    """
    left, upper, right, lower = boxes.float().unbind(dim=1)
    across = weights(left, right, images.shape[3], side, interpolation)
    down = weights(upper, lower, images.shape[2], side, interpolation)
    # Pillow and torch round between the two directions
    lines = (images.float() @ across[:, None].transpose(2, 3)).round_().clamp_(0, 255)
    return (down[:, None] @ lines).round_().clamp_(0, 255).to(torch.uint8)


def weights(begin: Tensor, end: Tensor, length: int, side: int, interpolation: str) -> Tensor:
    """What each pixel of a line adds to each pixel of its resized crop: [n, side, length].

    The filter is as wide as an output pixel where that is larger than one of the input, as Pillow's
    `Image.resize` has it, and sees nothing beyond the crop.

    Args:
        begin, end: [n] of the crops, in whole pixels of the line.
    """
    scale = (end - begin)[:, None, None] / side
    places = torch.arange(length, device=begin.device)[None, None, :] + 0.5
    centres = begin[:, None, None] + scale * (
        torch.arange(side, device=begin.device)[None, :, None] + 0.5
    )
    distance = (places - centres).abs() / scale.clamp(min=1)
    found = triangle(distance) if interpolation == "bilinear" else cubic(distance)
    inside = (places > begin[:, None, None]) & (places < end[:, None, None])
    found = torch.where(inside, found, 0)
    return found / found.sum(dim=2, keepdim=True)


def triangle(x: Tensor) -> Tensor:
    """Bilinear interpolation's filter at distances >= 0."""
    return (1 - x).clamp(min=0)


def cubic(x: Tensor) -> Tensor:
    """Bicubic interpolation's filter at distances >= 0 (Keys, 1981, equation 15)."""
    near = (CUBIC + 2) * x**3 - (CUBIC + 3) * x**2 + 1
    far = CUBIC * (x**3 - 5 * x**2 + 8 * x - 4)
    return torch.where(x < 1, near, torch.where(x < 2, far, 0))


class Held(EvaluationView):
    """An evaluation's view whose pictures are made once, on the host, and kept there.

    A loader's processes would each keep their own, and lose them: it is for a loader without any.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.samples: dict[int, Sample] = {}

    def __getitem__(self, index: int) -> Sample:
        if index not in self.samples:
            self.samples[index] = super().__getitem__(index)
        return self.samples[index]
