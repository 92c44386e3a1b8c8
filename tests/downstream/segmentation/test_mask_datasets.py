"""CamVid's and ADE20K's labels, the blur, and missing files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from core import configs
from core.errors import InputError
from downstream.segmentation import mask_datasets

LOAD = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")]


def _write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def _labels(highest: int) -> np.ndarray:
    """Every label, about equally often."""
    return (np.arange(40 * 60) % (highest + 1)).reshape(40, 60).astype(np.uint8)


@pytest.fixture
def camvid(tmp_path: Path) -> Config:
    for role in ("train", "test"):
        _write(tmp_path / "camvid" / role / "0001.jpg", np.zeros((40, 60, 3), np.uint8))
        _write(tmp_path / "camvid" / f"{role}annot" / "0001.png", _labels(11))
    found = configs.config("camvid")
    found.sizes = dict(train=1, test=1)
    return found


def _first(cfgs: list[dict]) -> dict:
    (cfg,) = cfgs
    with DefaultScope.overwrite_default_scope("mmseg"):
        return DATASETS.build(cfg)[0]


def test_camvids_void_is_ignored(camvid: Config, tmp_path: Path):
    sample = _first(mask_datasets.dataset_configs(camvid, tmp_path, "train", LOAD))
    labels = _labels(11)
    expected = np.where(labels == 11, 255, labels)
    np.testing.assert_array_equal(sample["data_samples"].gt_sem_seg.data[0].numpy(), expected)


def test_camvid_has_eleven_classes(camvid: Config, tmp_path: Path):
    (cfg,) = mask_datasets.dataset_configs(camvid, tmp_path, "test", LOAD)
    with DefaultScope.overwrite_default_scope("mmseg"):
        classes = DATASETS.build(cfg).metainfo["classes"]
    # the order of the labels in the usual (SegNet) edition of CamVid
    assert classes == (
        *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car"),
        *("Pedestrian", "Bicyclist"),
    )
    assert camvid.classes == len(classes)


@pytest.mark.parametrize("role", ["train", "test"])
def test_ades_label_0_is_ignored(role: str, tmp_path: Path):
    found = configs.config("ade20k")
    split = found.splits[role]
    root = tmp_path / "ADEChallengeData2016"
    _write(root / "images" / split / "a.jpg", np.zeros((40, 60, 3), np.uint8))
    _write(root / "annotations" / split / "a.png", _labels(150))
    found.sizes = {split: 1}
    sample = _first(mask_datasets.dataset_configs(found, tmp_path, role, LOAD))
    labels = _labels(150).astype(int)
    expected = np.where(labels == 0, 255, labels - 1)
    np.testing.assert_array_equal(sample["data_samples"].gt_sem_seg.data[0].numpy(), expected)
    assert set(np.unique(expected)) == {*range(150), 255}


def test_the_test_is_scored_at_the_labels_own_size(camvid: Config, tmp_path: Path):
    pipeline = configs.read("segment", "fcn").test_pipeline
    next(t for t in pipeline if t.type == "Resize").scale = (160, 20)
    sample = _first(mask_datasets.dataset_configs(camvid, tmp_path, "test", pipeline))
    assert sample["inputs"].shape == (3, 20, 30)
    assert sample["data_samples"].gt_sem_seg.data.shape == (1, 40, 60)
    assert sample["data_samples"].ori_shape == (40, 60)


# ---- blur


def test_blur_keeps_shape_and_type():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    changed = 0
    for seed in range(20):
        np.random.seed(seed)  # noqa: NPY002 - mmengine seeds this one in the loader's workers
        results = mask_datasets.RandomBlur(prob=1.0).transform(dict(img=image.copy(), other=1))
        assert results["img"].shape == image.shape
        assert results["img"].dtype == np.uint8
        assert results["other"] == 1
        changed += not np.array_equal(results["img"], image)
        # smoothing never raises the variance, and keeps the mean nearly the same
        assert results["img"].std() <= image.std() + 1e-9
        assert abs(results["img"].mean() - image.mean()) < 2
    assert changed > 5


def test_blur_is_gaussian_and_at_most_a_pixel_wide():
    impulse = np.zeros((41, 41), np.float32)
    impulse[20, 20] = 1
    offsets = np.arange(-20, 21)
    deviations = []
    for seed in range(50):
        np.random.seed(seed)  # noqa: NPY002
        spread = mask_datasets.RandomBlur(prob=1.0).transform(dict(img=impulse.copy()))["img"]
        assert spread.sum() == pytest.approx(1, abs=1e-5)
        deviations.append(float(np.sqrt((spread.sum(axis=0) * offsets**2).sum())))
    assert max(deviations) < 1.01
    assert max(deviations) > 0.8
    assert min(deviations) < 0.2


def test_no_blur():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    for _ in range(10):
        results = mask_datasets.RandomBlur(prob=0.0).transform(dict(img=image.copy()))
        np.testing.assert_array_equal(results["img"], image)


# ---- what is missing


@pytest.mark.parametrize("gone", ["train", "trainannot"])
def test_a_missing_folder_is_named(gone: str, camvid: Config, tmp_path: Path):
    (tmp_path / "camvid" / gone).rename(tmp_path / "elsewhere")
    told = rf"camvid: .*{gone}: no such folder\. To get it: .*, then make data"
    with pytest.raises(InputError, match=told):
        mask_datasets.dataset_configs(camvid, tmp_path, "train", LOAD)


def test_an_image_without_labels_is_named(camvid: Config, tmp_path: Path):
    (tmp_path / "camvid" / "trainannot" / "0001.png").unlink()
    with pytest.raises(InputError, match=r"0001\.png: no labels for 0001\.jpg"):
        mask_datasets.dataset_configs(camvid, tmp_path, "train", LOAD)


def test_a_wrong_count_is_refused(camvid: Config, tmp_path: Path):
    camvid.sizes = dict(train=4, test=1)
    with pytest.raises(InputError, match=r"1 images, expected 4\. To get it: .*, then make data"):
        mask_datasets.dataset_configs(camvid, tmp_path, "train", LOAD)


def test_the_papers_set_is_pinned():
    found = configs.config("ade20k")
    assert found.sizes == dict(training=20_210, validation=2_000)
    assert found.classes == 150
