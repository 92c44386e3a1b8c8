"""Label maps that are drawn after a run are those that its test has counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from downstream import confusion
from downstream.__main__ import main
from results import figures, store
from results.figures.drawing import Material, NothingMeasuredError
from results.figures.label_maps import segmented

pytestmark = pytest.mark.usefixtures("tiny_protocol", "clean_environment")


def test_label_maps_give_the_runs_confusion_again(data_root: Path, tmp_path: Path) -> None:
    words = ["segment", "--backbone", "random:resnet10d_narrow", "--workers", "0"]
    assert main([*words, "--data", str(data_root), "--runs", str(tmp_path)]) == 0
    records, _ = store.by_file(tmp_path, "demo")
    ((path, run),) = records.items()

    found = segmented(path, run, data_root)

    kept = confusion.load(path.with_name("confusion.npz"))
    classes = len(kept.classes)
    assert [file.stem for file, _, _ in found] == list(kept.images)
    for place, (_, truth, guess) in enumerate(found):
        labelled = truth != 255
        pairs = truth[labelled].astype(int) * classes + guess[labelled]
        counted = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
        np.testing.assert_array_equal(counted, kept.total([place]))

    drawn = figures.draw("segmentations", Material("demo", records, data_root))
    assert drawn.reason == ""
    assert "3 of the 3 test pictures of demo/ade20k" in drawn.caption

    (tmp_path / "demo" / "backbones").rename(tmp_path / "elsewhere")
    with pytest.raises(NothingMeasuredError, match=r"backbone\.safetensors"):
        segmented(path, run, data_root)
