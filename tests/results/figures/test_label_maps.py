"""Segmentations of several backbones on the same images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.metrics import label_maps
from core.metrics.label_maps import LabelMaps
from core.record import Record
from results.figures.drawing import FigureError, FigureInputs
from results.figures.label_maps import colours, segmentations

Make = Callable[..., Record]
Keep = Callable[..., FigureInputs]
Outputs = Callable[[FigureInputs, str], FigureInputs]

TRUTH = np.array([[0, 0, 0, 255], [1, 1, 0, 255]])
GUESSES = {"best": np.full((2, 4), 2), "cosine": np.zeros((2, 4), int)}


@pytest.fixture
def segmented(make: Make, tmp_path: Path, inputs: Keep) -> FigureInputs:
    """Two backbones' label maps of one image of the demo's ADE20K; no record lists them yet."""
    run = make(stage="segment", mirrors="ade20k", values={"miou": 20.0})
    data = run.dataset.model_copy(update={"name": "demo/ade20k"})
    runs = [run.model_copy(update={"recipe": name, "dataset": data}) for name in GUESSES]
    found = inputs(tmp_path / "runs", *runs, data=tmp_path / "data")
    for path, run in found.records.items():
        kept = LabelMaps(
            classes=("sky", "road", "car"),
            images=("street",),
            files=("images/street.jpg",),
            truth=(TRUTH,),
            guess=(GUESSES[run.recipe],),
        )
        label_maps.save(path.with_name("label_maps.npz"), kept)
    file = tmp_path / "data" / "demo" / "ADEChallengeData2016" / "images" / "street.jpg"
    file.parent.mkdir(parents=True)
    Image.new("RGB", (4, 2), "gray").save(file)
    return found


def shown(axes: Sequence) -> list[np.ndarray]:
    return [np.asarray(it.images[0].get_array()) for it in axes]


def test_label_maps_have_the_classes_colours(
    segmented: FigureInputs, with_outputs: Outputs
) -> None:
    assert len({tuple(it) for it in colours(150).tolist()}) == 151
    palette = colours(3)
    assert palette[3].tolist() == [0, 0, 0]

    plot = segmentations(with_outputs(segmented, "label_maps.npz"))

    axes = plot.figure.axes
    assert [it.get_title() for it in axes] == ["image", "ground truth", "cosine", "best"]
    image, *maps = shown(axes)
    assert (image == 128).all()
    expected = [np.where(TRUTH == 255, 3, TRUTH), GUESSES["cosine"], GUESSES["best"]]
    for found, labels in zip(maps, expected, strict=True):
        np.testing.assert_array_equal(found, palette[labels])
    (legend,) = plot.figure.legends
    assert [it.get_text() for it in legend.get_texts()] == ["sky", "road"]  # by their pixels
    assert "1 of the 120 test images of demo/ade20k, evenly spaced: street." in plot.caption


def test_without_the_images_the_label_maps_are_drawn_and_the_caption_says_why(
    segmented: FigureInputs, with_outputs: Outputs
) -> None:
    found = with_outputs(segmented, "label_maps.npz")
    for data, reason in ((None, "--data DIR"), (Path("elsewhere"), "street.jpg: not a readable")):
        plot = segmentations(replace(found, data=data))
        titles = [it.get_title() for it in plot.figure.axes]
        assert titles == ["ground truth", "cosine", "best"]
        assert "The images are not shown: " in plot.caption
        assert reason in plot.caption


def test_label_maps_that_are_not_the_records_are_not_drawn(
    segmented: FigureInputs, with_outputs: Outputs
) -> None:
    with pytest.raises(FigureError, match=r"the record lists no label_maps\.npz"):
        segmentations(segmented)
    found = with_outputs(segmented, "label_maps.npz")
    best, cosine = sorted(found.records, key=lambda it: it.parent.parent.name)
    other = label_maps.load(best.with_name("label_maps.npz"))
    label_maps.save(best.with_name("label_maps.npz"), replace(other, images=("elsewhere",)))
    assert "Left out: best" in segmentations(found).caption
    renamed = segmentations(with_outputs(found, "label_maps.npz"))
    assert "Left out: best (its label maps are of other images)." in renamed.caption
    for path in (best, cosine):
        path.with_name("label_maps.npz").write_bytes(b"PK damaged")
    with pytest.raises(FigureError, match=r"label_maps\.npz: not readable"):
        segmentations(with_outputs(found, "label_maps.npz"))


def test_an_older_run_has_no_label_maps(make: Make, tmp_path: Path, inputs: Keep) -> None:
    run = make(stage="segment", mirrors="ade20k", values={"miou": 20.0})
    with pytest.raises(FigureError, match=r"no segment run has a label_maps\.npz"):
        segmentations(inputs(tmp_path, run))
