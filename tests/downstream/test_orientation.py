"""EXIF orientation: every task sees the pixels as they are stored, as boxes and masks do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mmcv.transforms import Compose
from mmengine.registry import DefaultScope
from PIL import Image

from core import configs
from pretrain.images import decode

ORIENTATION = 0x0112  # the EXIF tag


def stored(path: Path, orientation: int | None) -> np.ndarray:
    """Writes an image whose corners differ, and what its file holds in RGB."""
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :8], pixels[8:, 16:] = (200, 40, 40), (40, 40, 200)
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    Image.fromarray(pixels).save(path, quality=95, exif=exif)
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_pixels_are_seen_as_they_are_stored(orientation: int | None, tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    expected = stored(path, orientation)
    seen = {"pretraining and probes": np.asarray(decode.full_image(path.read_bytes()))}
    for task, scope, name in (("detect", "mmdet", "c4"), ("segment", "mmseg", "fcn")):
        config = configs.read(task, name)
        for role, pipeline in (("train", config.train_pipeline), ("test", config.test_pipeline)):
            with DefaultScope.overwrite_default_scope(scope):
                found = Compose(pipeline[:1])(dict(img_path=str(path)))
            seen[f"{task}, {role}"] = found["img"][:, :, ::-1]
    for which, pixels in seen.items():
        assert pixels.shape == expected.shape, which
        assert np.abs(pixels.astype(int) - expected).max() <= 3, which  # two JPEG decoders
