"""CutMix (Yun et al., 2019, equations 1 and 2), an ingredient of ResNet strikes back."""

import numpy as np
import torch
from torch import Tensor


def draw(rng: np.random.Generator, n: int, alpha: float, side: int) -> tuple[Tensor, Tensor]:
    """Draws the box that is replaced in each image.

    With lambda from Beta(alpha, alpha), the box is W sqrt(1 - lambda) wide and H sqrt(1 - lambda)
    high around a uniform centre, clipped at the image's border.

    Args:
        side: of the square images, in pixels.

    Returns:
        boxes [n, 4] as left, upper, right, lower (exclusive), and lambda [n], the share of pixels
        outside the clipped box.
    """
    half = side * np.sqrt(1 - rng.beta(alpha, alpha, n))[:, None] / 2
    centre = rng.integers(0, side, (n, 2))
    low = np.clip(np.rint(centre - half), 0, side).astype(np.int64)
    high = np.clip(np.rint(centre + half), 0, side).astype(np.int64)
    lam = 1 - (high - low).prod(axis=1) / side**2
    return torch.from_numpy(np.hstack([low, high])), torch.from_numpy(lam.astype(np.float32))


def paste(images: Tensor, others: Tensor, boxes: Tensor) -> Tensor:
    """M x_i + (1 - M) x_j, where the mask M is 0 inside each image's box.

    Args:
        images, others: x_i and x_j, [N, C, H, W].
        boxes: [N, 4], from `draw`; an empty box leaves its image as it is.
    """
    left, upper, right, lower = boxes.to(images.device)[:, :, None].unbind(dim=1)
    x = torch.arange(images.shape[3], device=images.device)
    y = torch.arange(images.shape[2], device=images.device)
    across, down = (x >= left) & (x < right), (y >= upper) & (y < lower)
    return torch.where((down[:, :, None] & across[:, None, :])[:, None], others, images)
