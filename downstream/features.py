"""Pooled features of a frozen backbone, extracted once and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors
import torch
from safetensors.numpy import load, save

from downstream.backbone import Loaded
from pretrain import augment, loader, recipe
from pretrain.data import ImageSet, fingerprint
from pretrain.errors import InputError
from results.record import write_atomically


def cached(
    loaded: Loaded,
    images: ImageSet,
    folder: Path,
    *,
    resolution: int,
    crop_ratio: float,
    workers: int,
    device: torch.device,
) -> np.ndarray:
    """Features [N, D] in float32 of an image set, from `folder` if they were extracted before.

    They are kept under a hash of all that decides them: weights, images and the transform.
    """
    about = loaded.about
    key = recipe.digest(
        [
            *(loaded.sha256, fingerprint(images), resolution, crop_ratio),
            *(about.interpolation, about.mean, about.std),
        ]
    )
    path = folder / f"{key[:16]}.safetensors"
    try:
        return load(path.read_bytes())["features"]
    except (FileNotFoundError, safetensors.SafetensorError, KeyError):
        pass  # never extracted, or damaged: extract
    view = loader.EvaluationView(images, resolution, crop_ratio, about.interpolation)
    features = extract(loaded, view, workers, device)
    write_atomically(path, save({"features": features}))
    return features


@torch.no_grad()
def extract(
    loaded: Loaded, view: loader.EvaluationView, workers: int, device: torch.device
) -> np.ndarray:
    """Features [N, D] in float32: what the model's classifier would see, in evaluation mode.

    Raises:
        InputError: a picture cannot be read; a feature of nothing would be a wrong number.
    """
    model = loaded.model.to(device).eval()
    found = []
    for images, _, problems in loader.batches_of(loader.evaluation(view, 256, workers)):
        if problems:
            raise InputError(f"not a readable image: {': '.join(problems[0])}")
        pixels = images.to(device, non_blocking=True).float() / 255
        pixels = augment.normalise(pixels, loaded.about.mean, loaded.about.std)
        found.append(model.forward_head(model.forward_features(pixels), pre_logits=True).cpu())
    return torch.cat(found).numpy()
