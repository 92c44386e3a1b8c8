"""Label maps that are drawn after a run are those that its test has counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core import exchange
from core.metrics import segmentation
from core.runtime import resume_state
from downstream.__main__ import main
from results import figures
from results.figures.drawing import Material, NothingMeasuredError
from results.figures.label_maps import exchange_of, segmented
from results.store import query

pytestmark = pytest.mark.usefixtures("tiny_protocol", "clean_environment")


def test_label_maps_give_the_runs_confusion_again(data_root: Path, tmp_path: Path) -> None:
    words = ["segment", "--backbone", "random:resnet10d_narrow", "--workers", "0"]
    assert main([*words, "--data", str(data_root), "--runs", str(tmp_path)]) == 0
    records, _ = query.by_file(tmp_path, "demo")
    ((path, run),) = records.items()

    found = segmented(path, run, data_root)

    kept = segmentation.load(path.with_name("confusion.npz"))
    classes = len(kept.classes)
    assert [file.stem for file, _, _ in found] == list(kept.images)
    for place, (_, truth, guess) in enumerate(found):
        labelled = truth != 255
        pairs = truth[labelled].astype(int) * classes + guess[labelled]
        counted = np.bincount(pairs, minlength=classes**2)
        confusion = np.zeros(classes**2, int)
        confusion[kept.confusions[place].cells] = kept.confusions[place].pixels
        np.testing.assert_array_equal(counted, confusion)

    drawn = figures.draw("segmentations", Material("demo", records, data_root))
    assert drawn.reason == ""
    assert "3 of the 3 test pictures of demo/ade20k" in drawn.caption

    (tmp_path / "demo" / "backbones").rename(tmp_path / "elsewhere")
    with pytest.raises(NothingMeasuredError, match=r"backbone\.safetensors"):
        segmented(path, run, data_root)


def test_a_backbone_of_the_users_own_is_read_where_it_lies(data_root: Path, tmp_path: Path) -> None:
    mine, runs = tmp_path / "mine" / "backbone.safetensors", tmp_path / "runs"
    words = ["--protocol", "demo", "--runs", str(runs)]
    assert main(["import", "random:resnet10d_narrow", "--out", str(mine.parent), *words]) == 0
    words += ["--workers", "0", "--data", str(data_root)]
    for backbone in (f"file:{mine}", "random:resnet10d_narrow"):
        assert main(["segment", "--backbone", backbone, *words]) == 0
    records, _ = query.by_file(runs, "demo")
    by_source = {
        run.backbone.source.partition(":")[0]: (path, run) for path, run in records.items()
    }
    path, run = by_source["file"]
    assert not (runs / "demo" / "backbones" / run.recipe).exists()
    assert exchange_of(path, run) == mine
    drawn = figures.draw("segmentations", Material("demo", records, data_root))
    assert "Left out" not in drawn.caption

    # weights that have been replaced since: their backbone alone is left out
    other = by_source["random"]
    tensors, about = exchange.load_exchange(mine)
    changed = {name: it + 1 if it.is_floating_point() else it for name, it in tensors.items()}
    exchange.save_exchange(mine, changed, about)
    drawn = figures.draw("segmentations", Material("demo", records, data_root))
    assert f"Left out: {run.recipe} ({mine}: weights " in drawn.caption

    # and states that do not fit, or are damaged: then there is nothing to draw
    files = resume_state.states(other[0].parent)
    for damaged, told in (
        (False, "its state does not fit"),
        (True, "every saved state is damaged"),
    ):
        for file in files:
            file.write_bytes(b"")
        if not damaged:
            torch.save({"state_dict": {"elsewhere": torch.zeros(1)}}, files[0])
        drawn = figures.draw("segmentations", Material("demo", records, data_root))
        assert drawn.svg == ""
        assert told in drawn.reason
