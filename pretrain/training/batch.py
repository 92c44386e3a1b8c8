"""From a micro-batch of the loader to what the network sees and what it should say, on the device.

Here stands the order of the tricks on a batch: colour, lighting noise, normalisation, then mixup
or CutMix of the images together with their targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.images import transforms
from pretrain.recipe import Recipe
from pretrain.tricks import cutmix, mixup
from pretrain.tricks.binary_cross_entropy import binary_cross_entropy, multi_hot
from pretrain.tricks.label_smoothing import label_smoothing


@dataclass(frozen=True)
class Mixture:
    """What every example of a batch is mixed with.

    Attributes:
        partner: [n], a permutation of the batch.
        lam: [n], the example's weight under mixup; 1 where it is CutMix's turn.
        boxes: [n, 4], what CutMix replaces; empty where it is mixup's turn.
        share: [n], the example's part in the result, and so in its target.
    """

    partner: Tensor
    lam: Tensor
    boxes: Tensor
    share: Tensor


def draw(recipe: Recipe, rng: np.random.Generator, n: int, side: int) -> Mixture | None:
    """The mixture of a batch; None for a recipe without mixup and CutMix.

    With both, each example gets one or the other, at even odds.
    """
    if not (recipe.mixup_alpha or recipe.cutmix_alpha):
        return None
    partner = torch.from_numpy(rng.permutation(n))
    lam, outside = torch.ones(n), torch.ones(n)
    boxes = torch.zeros(n, 4, dtype=torch.int64)
    if recipe.mixup_alpha:
        lam = mixup.draw(rng, n, recipe.mixup_alpha)
    if recipe.cutmix_alpha:
        boxes, outside = cutmix.draw(rng, n, recipe.cutmix_alpha, side)
        if recipe.mixup_alpha:
            turn = torch.from_numpy(rng.random(n) < 0.5)
            lam = torch.where(turn, 1.0, lam)
            outside = torch.where(turn, outside, 1.0)
            boxes = torch.where(turn[:, None], boxes, 0)
    return Mixture(partner, lam, boxes, lam * outside)


def pixels_of(recipe: Recipe, images: Tensor, rng: np.random.Generator) -> Tensor:
    """Normalised pixels [n, 3, H, W] of uint8 images, with the recipe's colour augmentation."""
    rgb = transforms.colour(images, rng, recipe.hsv_jitter, recipe.pca_noise)
    return transforms.normalise(rgb, recipe.mean, recipe.std)


def prepare(
    recipe: Recipe, images: Tensor, labels: Tensor, classes: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Pixels [n, 3, H, W] and targets [n, classes] of one micro-batch.

    Args:
        images: uint8 [n, 3, H, W]; labels: [n] of class indices; both on the device.
        rng: decides all that is random here.
    """
    pixels = pixels_of(recipe, images, rng)
    targets = label_smoothing(labels, classes, recipe.label_smoothing)
    mixture = draw(recipe, rng, len(labels), images.shape[-1])
    if mixture is not None:
        partner = mixture.partner.to(images.device)
        others = targets[partner]
        source = pixels[partner]
        if recipe.mixup_alpha:
            pixels = mixup.mix(pixels, source, mixture.lam)
        if recipe.cutmix_alpha:
            pixels = cutmix.paste(pixels, source, mixture.boxes)
        mixed = multi_hot if recipe.loss == "bce" else mixup.mix
        targets = mixed(targets, others, mixture.share)
    return pixels.contiguous(memory_format=torch.channels_last), targets


def loss_against_targets(recipe: Recipe, logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, or the binary one, of logits [n, K] against targets [n, K]; a scalar."""
    if recipe.loss == "bce":
        return binary_cross_entropy(logits, targets)
    return F.cross_entropy(logits, targets)
