"""Features of a frozen backbone: their values, and that they are extracted and saved once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from core.errors import InputError
from downstream.__main__ import main
from downstream.backbones import timm_features
from downstream.probes import features
from pretrain.images.datasets import ImageSet

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def images() -> ImageSet:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(6) % 2
    return ImageSet("s", "s", "train", ("a", "b"), labels, Path("."), pixels=pixels)


def cached(path: Path, images: ImageSet, folder: Path, **changes: float) -> tuple[np.ndarray, bool]:
    settings = dict(resolution=32, crop_ratio=1.0) | changes
    return features.load_or_extract(
        folder, timm_features.load(path), images, workers=0, device=torch.device("cpu"), **settings
    )


def test_features_are_what_the_classifier_would_see(
    exchange: Callable, raw: Callable, images: ImageSet, tmp_path: Path
):
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    path = exchange(mean=mean, std=std)
    found, fresh = cached(path, images, tmp_path / "features")
    peer = timm.create_model("resnet10d_narrow", num_classes=0).eval()
    peer.load_state_dict({k: v for k, v in raw(path)[0].items() if not k.startswith("fc.")})
    pixels = ((images.pixels / 255 - mean) / std).transpose(0, 3, 1, 2)
    with torch.no_grad():
        expected = peer(torch.from_numpy(pixels).float()).numpy()
    assert fresh
    assert isinstance(found, np.memmap)
    assert found.dtype == np.float32
    assert found.shape == (6, 256)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_features_are_extracted_once(
    exchange: Callable, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path, folder = exchange(), tmp_path / "features"
    first, _ = cached(path, images, folder)
    monkeypatch.setattr(features, "extract", lambda *args: pytest.fail("extracted again"))
    again, fresh = cached(path, images, folder)
    np.testing.assert_array_equal(again, first)
    assert not fresh


def test_all_that_decides_features_is_in_their_key(
    exchange: Callable, images: ImageSet, tmp_path: Path
):
    path, folder = exchange(), tmp_path / "features"
    first, _ = cached(path, images, folder)
    turned = images.subset(np.array([5, 4, 3, 2, 1, 0]))
    for other, fresh in (
        cached(exchange(seed=1), images, folder),
        cached(path, images, folder, crop_ratio=0.75),
        cached(path, images, folder, resolution=40),
        cached(path, turned, folder),
        # the same tensors under another normalisation give other features
        cached(exchange(path=tmp_path / "other", mean=(0.1, 0.2, 0.3)), images, folder),
    ):
        assert fresh
        assert not np.array_equal(first, other)
    assert len(list(folder.glob("*.npy"))) == len(list(folder.glob("*.sha256"))) == 6
    assert len(list(folder.iterdir())) == 12, "no scratch file is left"


def damaged(content: bytes) -> list[bytes]:
    flipped = bytearray(content)
    flipped[-5] ^= 1
    return [b"", content[:100], content[:-4], bytes(flipped)]


@pytest.mark.parametrize("kind", range(4))
def test_damaged_features_are_extracted_again(
    kind: int, exchange: Callable, images: ImageSet, tmp_path: Path
):
    path, folder = exchange(), tmp_path / "features"
    first = np.array(cached(path, images, folder)[0])
    (kept,) = folder.glob("*.npy")
    kept.write_bytes(damaged(kept.read_bytes())[kind])
    again, fresh = cached(path, images, folder)
    assert fresh
    np.testing.assert_array_equal(again, first)


def test_a_kill_before_the_end_leaves_nothing_that_is_taken_for_whole(
    exchange: Callable, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path, folder = exchange(), tmp_path / "features"
    monkeypatch.setattr(features.files, "write_atomically", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cached(path, images, folder)
    monkeypatch.undo()
    assert cached(path, images, folder)[1]


def test_an_unreadable_image_ends_the_extraction(
    exchange: Callable, images: ImageSet, tmp_path: Path
):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    Image.new("RGB", (40, 40)).save(tmp_path / "b.jpg")
    images = replace(
        images,
        labels=np.arange(2),
        root=tmp_path,
        files=("b.jpg", "a.jpg"),
        pixels=None,
    )
    with pytest.raises(InputError, match=r"not a readable image: .*a\.jpg"):
        cached(exchange(), images, tmp_path / "features")
    assert not list((tmp_path / "features").iterdir())


@pytest.mark.usefixtures("tiny_protocol", "clean_environment")
def test_probes_share_their_features(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    words = ["--backbone", "random:resnet10d_narrow", "--dataset", "cifar10", "--workers", "0"]
    where = ["--data", str(data_root), "--runs", str(tmp_path)]
    assert main(["probe", *words, *where]) == 0
    monkeypatch.setattr(features, "extract", lambda *args: pytest.fail("extracted again"))
    assert main(["probe", "--mode", "knn", *words, *where]) == 0
    assert len(list((tmp_path / "demo/features").glob("*.npy"))) == 2  # of train and test


def test_processes_share_the_extraction(exchange: Callable, tmp_path: Path):
    """Seven samples over two processes: the same features in the same order as one process."""
    script = tmp_path / "two.py"
    script.write_text(
        """
import os, sys
from pathlib import Path
import numpy as np, torch
from core.runtime import distributed
from downstream.backbones import timm_features
from downstream.probes import features
from pretrain.images import loader
from pretrain.images.datasets import ImageSet
pixels = np.random.default_rng(2).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
images = ImageSet("s", "s", "train", ("a",), np.zeros(7, np.int64), Path("."), pixels=pixels)
seen = []
original = loader.EvaluationView.__getitem__
loader.EvaluationView.__getitem__ = lambda self, i: seen.append(i) or original(self, i)
with distributed.process_group() as device:
    found, fresh = features.load_or_extract(
        Path(sys.argv[2]), timm_features.load(Path(sys.argv[1])), images,
        resolution=32, crop_ratio=1.0, workers=0, device=torch.device("cpu"))
    assert fresh and found.shape == (7, 256)
    # in one write: both processes share the pipe
    os.write(1, f"seen {distributed.rank()} {sorted(seen)}\\n".encode())
"""
    )
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    outputs = []
    for name, launcher in (("one", []), ("two", launch)):
        folder = tmp_path / name
        done = subprocess.run(
            [sys.executable, *launcher, str(script), str(exchange()), str(folder)],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (path,) = folder.glob("*.npy")
        outputs.append((np.load(path), done.stdout))
    np.testing.assert_allclose(outputs[0][0], outputs[1][0], rtol=1e-5, atol=1e-6)
    assert "seen 0 [0, 2, 4, 6]" in outputs[1][1]
    assert "seen 1 [1, 3, 5]" in outputs[1][1]
