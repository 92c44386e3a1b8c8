"""Training sets decoded once and kept on the device as uint8; crops and flips are computed there.

The loader draws the augmentation parameters from the same random streams as without the cache, and
its batches hold these parameters instead of pixels. So a run trains on the same crops, up to
rounding in the resizing (benchmarks/resident.py measures speed and difference).
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
from pretrain.images.loader import EvaluationView, Key, Problems, Sample
from pretrain.recipe import Recipe
from pretrain.tricks.randaugment import policy

CUBIC_A = -0.5  # the cubic filter's free parameter in Pillow's and torch's antialiased resizing
CROP_LENGTH = 6  # parameters of a crop: sample, left, upper, right, lower, whether it is flipped


@dataclass(frozen=True)
class CachedImages:
    """A training set on a device.

    Attributes:
        pixels: uint8 [N, 3, H, W].
        labels: [N] of class indices, on the host. An unreadable image is replaced by the next
            readable one, with that one's label, as in TrainingView.
        problems: the unreadable images, each with the reason.
    """

    pixels: Tensor
    labels: np.ndarray
    problems: Problems

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[3], self.pixels.shape[2]


def load(images: ImageSet, device: torch.device) -> CachedImages | None:
    """Decodes a training set onto the device.

    Returns:
        None, and prints why, if the images differ in size or do not fit into the device's memory.

    Raises:
        InputError: no image can be read.
    """
    decoded: dict[int, np.ndarray] = {}
    problems: Problems = []
    for index in range(len(images)):
        try:
            decoded[index] = np.asarray(decode.full_image(images.source(index)))
        except decode.Unreadable as error:
            problems.append((images.path(index), str(error)))
    if not decoded:
        raise InputError(f"{images.root}: none of the {len(images)} images can be read")
    sizes = {pixels.shape for pixels in decoded.values()}
    if len(sizes) > 1:
        shown = ", ".join(f"{w} x {h}" for h, w, _ in sorted(sizes)[:3])
        _print_not_cached(images, f"its images have several sizes ({shown} ...)")
        return None
    readable = np.array(sorted(decoded))
    # the next readable image; after the last comes the first
    positions = np.searchsorted(readable, np.arange(len(images))) % len(readable)
    chosen = readable[positions]
    block = np.stack([decoded[index] for index in chosen])
    try:
        pixels = torch.from_numpy(block).permute(0, 3, 1, 2).contiguous().to(device)
    except torch.OutOfMemoryError:
        _print_not_cached(images, f"{block.nbytes / 1e9:.1f} GB do not fit into its memory")
        return None
    return CachedImages(pixels, images.labels[chosen], problems)


def _print_not_cached(images: ImageSet, reason: str) -> None:
    print(f"{images.name} is not kept on the device: {reason}", flush=True)


class AugmentationParameters(Dataset):
    """Like TrainingView, but returns augmentation parameters instead of pixels."""

    def __init__(self, cached: CachedImages, recipe: Recipe, seed: int) -> None:
        self.labels, self.size = cached.labels, cached.size
        self.recipe, self.seed = recipe, seed

    def __getitem__(self, key: Key) -> Sample:
        """Parameters, float64 [CROP_LENGTH + RandAugment's]; the label; no problems."""
        _, index, _ = key
        rng = generator("sample", self.seed, *key)
        box = transforms.random_crop_box(rng, *self.size)
        parameters: list[float] = [index, *box, rng.random() < 0.5]
        if self.recipe.randaugment is not None:
            side = self.recipe.train_resolution
            randaugment = policy(self.recipe.randaugment, side, self.recipe.mean)
            parameters += batched_randaugment.draw(rng, randaugment)
        return torch.tensor(parameters, dtype=torch.float64), int(self.labels[index]), []


def augment(cached: CachedImages, parameters: Tensor, recipe: Recipe) -> Tensor:
    """The batch that TrainingView would have made, for parameters [n, CROP_LENGTH + ...].

    Returns:
        uint8 [n, 3, R, R] on the device, R the recipe's training resolution.
    """
    device = cached.pixels.device
    samples, boxes = parameters[:, 0].long().to(device), parameters[:, 1:5].to(device)
    pixels = resized_crops(
        cached.pixels[samples], boxes, recipe.train_resolution, recipe.interpolation
    )
    flipped = parameters[:, 5].bool().to(device)
    pixels = torch.where(flipped[:, None, None, None], pixels.flip(3), pixels)
    if recipe.randaugment is not None:
        fill = [round(255 * channel) for channel in recipe.mean]
        pixels = batched_randaugment.apply(pixels, parameters[:, CROP_LENGTH:], fill)
    return pixels


def resized_crops(images: Tensor, boxes: Tensor, side: int, interpolation: str) -> Tensor:
    """Crops each image to its own box and resizes it with antialiasing.

    Args:
        images: uint8 [n, 3, H, W]; boxes: [n, 4] of left, upper, right, lower in whole pixels.

    Returns:
        uint8 [n, 3, side, side].
    """
    left, upper, right, lower = boxes.float().unbind(dim=1)
    horizontal = axis_weights(left, right, images.shape[3], side, interpolation)
    vertical = axis_weights(upper, lower, images.shape[2], side, interpolation)
    # Pillow and torch round between the two passes
    rows = (images.float() @ horizontal[:, None].transpose(2, 3)).round_().clamp_(0, 255)
    return (vertical[:, None] @ rows).round_().clamp_(0, 255).to(torch.uint8)


def axis_weights(begin: Tensor, end: Tensor, length: int, side: int, interpolation: str) -> Tensor:
    """Resizing along one axis: the weight of each input pixel in each output: [n, side, length].

    As in Pillow's `Image.resize`, the filter is scaled to the output pixel when downsampling, and
    pixels outside the crop have no weight.

    Args:
        begin, end: [n], the crops' edges in whole pixels.
        length, side: pixels of the input and of the output.
    """
    scale = (end - begin)[:, None, None] / side
    pixels = torch.arange(length, device=begin.device)[None, None, :] + 0.5
    centres = begin[:, None, None] + scale * (
        torch.arange(side, device=begin.device)[None, :, None] + 0.5
    )
    distance = (pixels - centres).abs() / scale.clamp(min=1)
    weights = triangle(distance) if interpolation == "bilinear" else cubic(distance)
    inside = (pixels > begin[:, None, None]) & (pixels < end[:, None, None])
    weights = torch.where(inside, weights, 0)
    return weights / weights.sum(dim=2, keepdim=True)


def triangle(x: Tensor) -> Tensor:
    """The bilinear filter at distances x >= 0."""
    return (1 - x).clamp(min=0)


def cubic(x: Tensor) -> Tensor:
    """The bicubic filter at distances x >= 0 (Keys, 1981, equation 15)."""
    near = (CUBIC_A + 2) * x**3 - (CUBIC_A + 3) * x**2 + 1
    far = CUBIC_A * (x**3 - 5 * x**2 + 8 * x - 4)
    return torch.where(x < 1, near, torch.where(x < 2, far, 0))


class CachedEvaluationView(EvaluationView):
    """An EvaluationView that keeps its decoded samples on the host.

    Use it without loader processes: each would fill a cache of its own and lose it.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.samples: dict[int, Sample] = {}

    def __getitem__(self, index: int) -> Sample:
        if index not in self.samples:
            self.samples[index] = super().__getitem__(index)
        return self.samples[index]
