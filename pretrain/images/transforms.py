"""Augmentation (Bag of Tricks, section 2.1): crop and flip on the host, colour on the device.

The host makes uint8 [3, H, W]; colour, noise and normalisation then run in batches on the model's
device. All random numbers come from a NumPy generator that the caller seeds.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as TF

from pretrain.images import decode
from pretrain.recipe import Recipe
from pretrain.tricks.randaugment import policy, randaugment

# Principal components of ImageNet's RGB in [0, 1] (Krizhevsky et al., 2012, section 4.1).
EIGENVALUES = torch.tensor([0.2175, 0.0188, 0.0045])
EIGENVECTORS = torch.tensor(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)


def random_crop_box(rng: np.random.Generator, width: int, height: int) -> tuple[int, int, int, int]:
    """A crop of 8 to 100 % of the area and of aspect 3/4 to 4/3: left, upper, right, lower.

    As in torchvision, log(aspect) is uniform, and after ten boxes that do not fit the result is the
    largest central crop within the range of aspects.
    """
    for _ in range(10):
        area = width * height * rng.uniform(0.08, 1.0)
        aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left = int(rng.integers(0, width - w + 1))
            upper = int(rng.integers(0, height - h + 1))
            return left, upper, left + w, upper + h
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, upper = (width - w) // 2, (height - h) // 2
    return left, upper, left + w, upper + h


def for_training(source: decode.Source, rng: np.random.Generator, recipe: Recipe) -> Tensor:
    """Random resized crop, random flip, and RandAugment if the recipe has it.

    Returns:
        uint8 [3, R, R], R the recipe's training resolution.

    Raises:
        decode.Unreadable: the image cannot be decoded.
    """
    side = recipe.train_resolution
    box = random_crop_box(rng, *decode.size(source))
    crop = decode.resized_crop(source, box, side, recipe.interpolation)
    pixels = torch.from_numpy(crop).permute(2, 0, 1)
    if rng.random() < 0.5:
        pixels = pixels.flip(2)
    if recipe.randaugment is not None:
        image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
        augmented = randaugment(image, rng, policy(recipe.randaugment, side, recipe.mean))
        pixels = to_tensor(augmented)
    return pixels.contiguous()


def for_evaluation(
    image: Image.Image, resolution: int, crop_ratio: float, interpolation: str
) -> Tensor:
    """Resizes the shorter side to R / crop_ratio and crops the centre: uint8 [3, R, R]."""
    shorter = math.floor(resolution / crop_ratio)
    resized = TF.resize(image, [shorter], TF.InterpolationMode(interpolation))
    return to_tensor(TF.center_crop(resized, [resolution, resolution]))


def to_tensor(image: Image.Image) -> Tensor:
    """uint8 [3, H, W] of an RGB image."""
    return torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1).contiguous()


def rgb_to_hsv(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """RGB [N, 3, H, W] to hue in [0, 1), saturation and value in [0, 1], each [N, H, W]."""
    red, green, blue = rgb.unbind(dim=1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    divisor = torch.where(chroma > 0, chroma, 1)
    sixths = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    return _fraction(sixths / 6), chroma / torch.where(value > 0, value, 1), value


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The inverse of `rgb_to_hsv`: channel c is v - v s max(0, min(k, 4 - k, 1)), k = c's sixth."""
    offset = torch.tensor([5.0, 3.0, 1.0], device=hue.device).view(1, 3, 1, 1)
    k = 6 * _fraction((offset + 6 * hue[:, None]) / 6)
    ramp = torch.minimum(k, 4 - k).clamp(0, 1)
    return value[:, None] - (value * saturation)[:, None] * ramp


def _fraction(x: Tensor) -> Tensor:
    """x % 1, several times faster on a CPU."""
    return x - x.floor()


def scale_hsv(rgb: Tensor, factors: Tensor) -> Tensor:
    """Scales hue, saturation and brightness (value) by factors (section 2.1).

    Hue is an angle, so scaling needs an origin. It is red, with hues in (-1/2, 1/2]: reds lie on
    both sides of 0, and stay close to each other.

    Args:
        rgb: [N, 3, H, W] in [0, 1].
        factors: [N, 3], for hue, saturation and value.
    """
    hue, saturation, value = rgb_to_hsv(rgb)
    f = factors.to(rgb.device)[:, :, None, None]
    signed = torch.where(hue > 0.5, hue - 1, hue)
    hue = _fraction(signed * f[:, 0])
    return hsv_to_rgb(hue, (saturation * f[:, 1]).clamp(0, 1), (value * f[:, 2]).clamp(0, 1))


def pca_noise(rgb: Tensor, coefficients: Tensor) -> Tensor:
    """AlexNet's PCA noise: adds sum_k p_k alpha_k lambda_k to every pixel of an image.

    Args:
        rgb: [N, 3, H, W] in [0, 1].
        coefficients: alpha [N, 3], from N(0, 0.1).
    """
    shift = (coefficients * EIGENVALUES) @ EIGENVECTORS.T
    return rgb + shift.to(rgb.device)[:, :, None, None]


def colour(images: Tensor, rng: np.random.Generator, jitter: float, noise: float) -> Tensor:
    """Colour jitter and PCA noise, with random coefficients for each image.

    Args:
        images: uint8 [N, 3, H, W].
        jitter: factors of hue, saturation and value are from U[1 - jitter, 1 + jitter].
        noise: standard deviation of the PCA coefficients.

    Returns:
        float [N, 3, H, W]; the noise can leave [0, 1].
    """
    n = len(images)
    factors = rng.uniform(1 - jitter, 1 + jitter, (n, 3)) if jitter else np.ones((n, 3))
    alpha = rng.normal(0, noise, (n, 3)) if noise else np.zeros((n, 3))
    # a CPU is several times faster on chunks that fit its cache
    chunk = max(1, 2**16 // images[0, 0].numel()) if images.device.type == "cpu" else n
    parts = []
    for first in range(0, n, chunk):
        part = slice(first, first + chunk)
        rgb = images[part].float() / 255
        if jitter:
            rgb = scale_hsv(rgb, torch.from_numpy(factors[part].astype(np.float32)))
        if noise:
            rgb = pca_noise(rgb, torch.from_numpy(alpha[part].astype(np.float32)))
        parts.append(rgb)
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def normalise(rgb: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(rgb - mean) / std by channel, for [N, 3, H, W] and moments of the same scale."""
    mean_, std_ = (torch.tensor(m, device=rgb.device).view(1, 3, 1, 1) for m in (mean, std))
    return (rgb - mean_) / std_
