"""Detections of several backbones on the same images."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.metrics import detection
from core.metrics.detection import DetectionResults, Detections, GroundTruth
from core.record import Record
from results.figures import outputs, side_by_side
from results.figures.drawing import FigureError, FigureInputs

Make = Callable[..., Record]
Keep = Callable[..., FigureInputs]
Outputs = Callable[[FigureInputs, str], FigureInputs]


@pytest.fixture
def detected(make: Make, tmp_path: Path, inputs: Keep, with_outputs: Outputs) -> FigureInputs:
    """Detections of two backbones on four images of the demo's VOC; the second has no object."""
    runs = [
        make(stage="detect", recipe=name, mirrors="voc", values={"map": 40.0})
        for name in ("best", "cosine")
    ]
    data = runs[0].dataset.model_copy(update={"name": "demo/voc"})
    runs = [run.model_copy(update={"dataset": data}) for run in runs]
    found = inputs(tmp_path / "runs", *runs, data=tmp_path / "data")
    names = ("000001", "000002", "000003", "000004")
    box = np.array([[10.0, 20, 30, 60]])
    truth = GroundTruth(box, np.array([1]), np.array([False]))
    empty = GroundTruth(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool))
    sure = Detections(np.concatenate([box + 1, box + 9]), np.array([0.9, 0.2]), np.array([1, 0]))
    for path in found.records:
        results = DetectionResults(("cat", "dog"), names, (sure,) * 4, (truth, empty, truth, truth))
        detection.save(path.with_name("detections.npz"), results)
    found = with_outputs(found, "detections.npz")
    folder = tmp_path / "data" / "demo" / "VOCdevkit" / "VOC2007" / "JPEGImages"
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", (512, 256), "gray").save(folder / f"{name}.jpg")
    return found


def test_detections_show_the_same_images_for_each(detected: FigureInputs) -> None:
    plot = side_by_side.detections(detected)
    axes = plot.figure.axes
    assert [it.get_title() for it in axes[:3]] == ["ground truth", "cosine", "best"]
    assert len(axes) == 3 * 3  # images with objects by ground truth and two backbones
    there, cosine = (it.patches[0].get_bbox().extents for it in axes[:2])
    np.testing.assert_allclose(there, [5, 10, 15, 30])  # half as large as the image
    np.testing.assert_allclose(cosine, [5.5, 10.5, 15.5, 30.5])
    assert [len(it.patches) for it in axes] == [1] * 9  # the unsure are left out
    assert [it.get_text() for it in axes[1].texts] == ["dog 0.90"]
    assert "000001, 000003, 000004" in plot.caption


def test_detections_that_are_not_the_records_are_left_out(
    detected: FigureInputs, with_outputs: Outputs
) -> None:
    cosine, best = sorted(detected.records, key=lambda it: it.parent.parent.name, reverse=True)
    cosine.with_name("detections.npz").write_bytes(b"PK damaged")
    plot = side_by_side.detections(detected)
    assert [it.get_title() for it in plot.figure.axes[:2]] == ["ground truth", "best"]
    assert (
        f"Left out: cosine ({cosine.with_name('detections.npz')}: its hash is not" in plot.caption
    )
    damaged = with_outputs(detected, "detections.npz")
    assert "Left out: cosine" in side_by_side.detections(damaged).caption
    best.with_name("detections.npz").write_bytes(b"")
    with pytest.raises(FigureError, match=r"detections\.npz: not readable"):
        side_by_side.detections(with_outputs(detected, "detections.npz"))


def test_a_damaged_image_is_named(detected: FigureInputs) -> None:
    assert detected.data is not None
    (file,) = detected.data.rglob("000003.jpg")
    file.write_bytes(b"no image")
    with pytest.raises(FigureError, match=r"000003\.jpg: not a readable image"):
        side_by_side.detections(detected)


def test_seeds_are_listed_where_they_differ(make: Make) -> None:
    runs = {"best": make(seed=1), "cosine": make(seed=1)}
    assert outputs.seeds_of(runs) == "seed 1"
    assert outputs.seeds_of(runs | {"cosine": make(seed=0)}) == "seeds: best 1, cosine 0"


def test_photographs_become_jpeg_and_flat_images_stay() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(noise).resize((8, 8)).resize((128, 128)))
    for pixels, kind in ((smooth, "jpeg"), (np.zeros((64, 64, 3), np.uint8), "png")):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="png")
        address = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        svg = side_by_side.with_jpeg(f'<image href="{address}"/>')
        assert svg.startswith(f'<image href="data:image/{kind};base64,')
        content = base64.b64decode(svg.split("base64,")[1].split('"')[0])
        with Image.open(io.BytesIO(content)) as image:
            close = np.abs(np.asarray(image, float) - pixels)
        assert close.mean() < 3


def test_detections_need_their_images(detected: FigureInputs) -> None:
    records = detected.records
    with pytest.raises(FigureError, match="--data"):
        side_by_side.detections(FigureInputs("demo", records))
    with pytest.raises(FigureError, match=r"000001\.jpg"):
        side_by_side.detections(FigureInputs("demo", records, Path("elsewhere")))
