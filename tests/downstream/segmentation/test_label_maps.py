"""The label maps that a test saves are those that its metric counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from core import configs, files
from core.metrics import label_maps, segmentation
from core.metrics.label_maps import LabelMaps
from downstream.__main__ import main
from results import figures
from results.figures.drawing import FigureInputs
from results.store import query

pytestmark = pytest.mark.usefixtures("clean_environment")


def confusion_of(results: segmentation.SegmentationResults, place: int) -> np.ndarray:
    """The pixels [classes * classes] of an image by true and predicted class."""
    found = results.confusions[place]
    pixels = np.zeros(len(results.classes) ** 2, int)
    pixels[found.cells] = found.pixels
    return pixels


def test_label_maps_give_the_runs_confusion_again(
    data_root: Path, tiny_protocol: Config, tmp_path: Path
) -> None:
    tiny_protocol.segment.multi_scale = (0.5, 1.0)  # several views, whose label maps are not kept
    tiny_protocol.segment["optim_wrapper.optimizer.lr"] = (
        0.0  # an untrained network sees more than one class
    )
    words = ["segment", "--backbone", "random:resnet10d_narrow", "--workers", "0"]
    assert main([*words, "--data", str(data_root), "--runs", str(tmp_path)]) == 0
    records, _ = query.by_file(tmp_path, "demo")
    ((path, run),) = records.items()
    names = ("confusion.npz", "confusion_ms.npz", "label_maps.npz")
    assert run.outputs == {name: files.sha256_of(path.with_name(name)) for name in names}

    found = label_maps.load(path.with_name("label_maps.npz"))

    kept = segmentation.load(path.with_name("confusion.npz"))
    classes = len(kept.classes)
    assert found.classes == kept.classes
    assert found.images == kept.images
    for place, (truth, guess) in enumerate(zip(found.truth, found.guess, strict=True)):
        assert truth.dtype == guess.dtype == np.uint8
        labelled = truth != 255
        pairs = truth[labelled].astype(int) * classes + guess[labelled]
        counted = np.bincount(pairs, minlength=classes**2)
        np.testing.assert_array_equal(counted, confusion_of(kept, place))
    assert all(len(np.unique(guess)) > 1 for guess in found.guess)
    of_views = segmentation.load(path.with_name("confusion_ms.npz"))
    places = range(len(kept.images))
    different = [(confusion_of(kept, it) != confusion_of(of_views, it)).any() for it in places]
    assert any(different), "other label maps than those of one view"
    root = data_root / configs.config("demo/ade20k").root
    assert [root / file for file in found.files] == sorted(root.rglob("validation/*.jpg"))

    drawn = figures.draw("segmentations", FigureInputs("demo", records, data_root))
    assert drawn.reason == ""
    assert "3 of the 3 test images of demo/ade20k" in drawn.caption
    assert "not shown" not in drawn.caption


def test_what_is_kept_is_read_back_in_the_smallest_type(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = (rng.integers(0, 3, (2, 5)), rng.integers(200, 400, (4, 3)))
    guess = (np.full((2, 5), 255), np.zeros((4, 3), int))
    kept = LabelMaps(("a", "b", "c"), ("x", "y"), ("f/x.jpg", "f/y.jpg"), truth, guess)
    label_maps.save(tmp_path / "label_maps.npz", kept)
    found = label_maps.load(tmp_path / "label_maps.npz")
    assert (found.classes, found.images, found.files) == (kept.classes, kept.images, kept.files)
    assert [it.dtype for it in found.truth] == [np.uint8, np.uint16]
    for labels, expected in zip((*found.truth, *found.guess), (*truth, *guess), strict=True):
        np.testing.assert_array_equal(labels, expected)
