"""The same pictures for several backbones: what is drawn where."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core import files
from core.metrics import detection
from core.metrics.detection import DetectionResults, Detections, GroundTruth
from core.record import Record
from results.figures import label_maps, side_by_side
from results.figures.drawing import Material, NothingMeasuredError

Make = Callable[..., Record]
Keep = Callable[..., Material]
Train = Callable[[Material], Material]
Lines = Callable[..., dict[str, np.ndarray]]


def named(found: Material) -> Material:
    """The same, each record with the hash of the detections beside it."""
    records = {}
    for path, run in found.records.items():
        outputs = {"detections.npz": files.sha256_of(path.with_name("detections.npz"))}
        records[path] = run.model_copy(update={"outputs": outputs})
    return Material(found.protocol, records, found.data)


@pytest.fixture
def detected(make: Make, tmp_path: Path, material: Keep) -> Material:
    """Two detectors' findings in four pictures of the demo's VOC, the second one empty."""
    runs = [
        make(stage="detect", recipe=name, mirrors="voc", values={"map": 40.0})
        for name in ("best", "cosine")
    ]
    data = runs[0].dataset.model_copy(update={"name": "demo/voc"})
    runs = [run.model_copy(update={"dataset": data}) for run in runs]
    found = material(tmp_path / "runs", *runs, data=tmp_path / "data")
    names = ("000001", "000002", "000003", "000004")
    box = np.array([[10.0, 20, 30, 60]])
    truth = GroundTruth(box, np.array([1]), np.array([False]))
    empty = GroundTruth(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool))
    sure = Detections(np.concatenate([box + 1, box + 9]), np.array([0.9, 0.2]), np.array([1, 0]))
    for path in found.records:
        results = DetectionResults(("cat", "dog"), names, (sure,) * 4, (truth, empty, truth, truth))
        detection.save(path.with_name("detections.npz"), results)
    found = named(found)
    folder = tmp_path / "data" / "demo" / "VOCdevkit" / "VOC2007" / "JPEGImages"
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", (512, 256), "gray").save(folder / f"{name}.jpg")
    return found


def test_detections_show_the_same_pictures_for_each(detected: Material) -> None:
    plot = side_by_side.detections(detected)
    axes = plot.figure.axes
    assert [it.get_title() for it in axes[:3]] == ["what is there", "cosine", "best"]
    assert len(axes) == 3 * 3  # pictures with objects by what is there and two backbones
    there, cosine = (it.patches[0].get_bbox().extents for it in axes[:2])
    np.testing.assert_allclose(there, [5, 10, 15, 30])  # half as large as the picture
    np.testing.assert_allclose(cosine, [5.5, 10.5, 15.5, 30.5])
    assert [len(it.patches) for it in axes] == [1] * 9  # the unsure are left out
    assert [it.get_text() for it in axes[1].texts] == ["dog 0.90"]
    assert "000001, 000003, 000004" in plot.caption


def test_detections_that_are_not_the_records_are_left_out(detected: Material) -> None:
    cosine, best = sorted(detected.records, key=lambda it: it.parent.parent.name, reverse=True)
    cosine.with_name("detections.npz").write_bytes(b"PK damaged")
    plot = side_by_side.detections(detected)
    assert [it.get_title() for it in plot.figure.axes[:2]] == ["what is there", "best"]
    assert f"Left out: cosine ({cosine.with_name('detections.npz')}: not the file" in plot.caption
    assert "Left out: cosine" in side_by_side.detections(named(detected)).caption  # now damaged
    best.with_name("detections.npz").write_bytes(b"")
    with pytest.raises(NothingMeasuredError, match=r"detections\.npz: not readable"):
        side_by_side.detections(named(detected))


def test_a_damaged_picture_is_named(detected: Material) -> None:
    assert detected.data is not None
    (file,) = detected.data.rglob("000003.jpg")
    file.write_bytes(b"no picture")
    with pytest.raises(NothingMeasuredError, match=r"000003\.jpg: not a readable picture"):
        side_by_side.detections(detected)


def test_the_seed_of_each_is_told_where_they_differ(make: Make) -> None:
    runs = {"best": make(seed=1), "cosine": make(seed=1)}
    assert side_by_side.seeds_of(runs) == "seed 1"
    assert side_by_side.seeds_of(runs | {"cosine": make(seed=0)}) == "seeds: best 1, cosine 0"


def test_photographs_become_jpeg_and_flat_pictures_stay() -> None:
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


def test_detections_need_their_pictures(detected: Material) -> None:
    records = detected.records
    with pytest.raises(NothingMeasuredError, match="--data"):
        side_by_side.detections(Material("demo", records))
    with pytest.raises(NothingMeasuredError, match=r"000001\.jpg"):
        side_by_side.detections(Material("demo", records, Path("elsewhere")))


def test_label_maps_have_the_classes_colours(make: Make, tmp_path: Path) -> None:
    of_ade20k = label_maps.colours(150)
    assert len({tuple(it) for it in of_ade20k.tolist()}) == 151
    palette = label_maps.colours(3)
    assert palette[3].tolist() == [0, 0, 0]
    Image.new("RGB", (4, 2), "gray").save(tmp_path / "street.png")
    truth = np.array([[0, 0, 0, 255], [1, 1, 0, 255]])
    guesses = {"cosine": np.zeros((2, 4), int), "best": np.full((2, 4), 2)}
    picture = label_maps.Segmented("street", tmp_path / "street.png", truth, guesses)
    run = make(stage="segment", mirrors="ade20k", values={"miou": 20.0})
    plot = label_maps.draw([picture], ["sky", "road", "car"], {"best": run}, "demo")
    axes = plot.figure.axes
    assert [it.get_title() for it in axes] == ["picture", "what is there", "cosine", "best"]
    shown = [np.asarray(it.images[0].get_array()) for it in axes[1:]]
    expected = [np.where(truth == 255, 3, truth), *guesses.values()]
    for found, labels in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(found, palette[labels])
    (legend,) = plot.figure.legends
    assert [it.get_text() for it in legend.get_texts()] == ["sky", "road"]  # by their pixels
    assert "1 of the 120 test pictures of demo-ade20k" in plot.caption


def test_a_run_without_its_state_has_no_label_maps(
    make: Make, tmp_path: Path, material: Keep
) -> None:
    run = make(stage="segment", mirrors="ade20k", values={"miou": 20.0})
    found = material(tmp_path, run)
    with pytest.raises(NothingMeasuredError, match="state-"):
        label_maps.segmentations(found)
    (path,) = found.records
    path.with_name("state-000000001.pt").touch()
    with pytest.raises(NothingMeasuredError, match="--data"):
        label_maps.segmentations(found)


def test_at_most_five_backbones_are_shown_the_ends_among_them() -> None:
    names = [str(i) for i in range(9)]
    assert side_by_side.evenly(names, 5) == ["0", "2", "4", "6", "8"]
    assert side_by_side.evenly(names[:2], 5) == ["0", "1"]
    assert side_by_side.evenly([], 5) == []
