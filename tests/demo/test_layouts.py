"""The files of every dataset: locations, names and formats of the real ones."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

from demo.scenes import PLACES
from demo.taxonomy import ADE_STUFF, ADE_THINGS, CIFAR10, IMAGENET


def test_imagenet_folders(rendering):
    for split, count in (("train", 2), ("val", 1)):
        folder = rendering.root / "imagenet" / split
        assert sorted(child.name for child in folder.iterdir()) == list(IMAGENET)
        for wnid in IMAGENET:
            names = {path.name for path in (folder / wnid).iterdir()}
            assert names == {f"{wnid}_{number}.JPEG" for number in range(1, count + 1)}


def test_imagenet_images_vary_in_size(rendering):
    sizes = set()
    for path in (rendering.root / "imagenet").rglob("*.JPEG"):
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert all(72 <= side <= 140 for side in image.size)
            sizes.add(image.size)
    assert len(sizes) > 50


def test_imagenet_names_every_class(rendering):
    lines = (rendering.root / "imagenet" / "LOC_synset_mapping.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == list(IMAGENET)


def test_ade_labels_fit_their_images(rendering):
    root = rendering.root / "ADEChallengeData2016"
    known = {0, *ADE_STUFF.values(), *ADE_THINGS.values()}
    ignored = []
    for split, prefix, count in (("training", "train", 10), ("validation", "val", 4)):
        stems = {f"ADE_{prefix}_{number:08d}" for number in range(1, count + 1)}
        assert {path.name for path in (root / "images" / split).iterdir()} == {
            f"{stem}.jpg" for stem in stems
        }
        assert {path.name for path in (root / "annotations" / split).iterdir()} == {
            f"{stem}.png" for stem in stems
        }
        for stem in stems:
            with (
                Image.open(root / "images" / split / f"{stem}.jpg") as image,
                Image.open(root / "annotations" / split / f"{stem}.png") as png,
            ):
                assert png.mode == "L"
                assert png.size == image.size
                labels = np.asarray(png)
            assert labels.dtype == np.uint8
            assert set(np.unique(labels).tolist()) <= known
            ignored.append((labels == 0).mean())
    assert 0 < np.mean(ignored) < 0.1


def test_ade_object_info_counts_images(rendering):
    root = rendering.root / "ADEChallengeData2016"
    header, *rows = (root / "objectInfo150.txt").read_text().splitlines()
    assert header == "Idx\tRatio\tTrain\tVal\tStuff\tName"
    names = {}
    for row in rows:
        index, _, train, val, stuff, name = row.split("\t")
        names[name] = int(index)
        assert stuff == str(int(name in ADE_STUFF))
        for split, count in (("training", train), ("validation", val)):
            files = sorted((root / "annotations" / split).iterdir())
            labels = [np.asarray(Image.open(path)) for path in files]
            assert sum(bool((label == int(index)).any()) for label in labels) == int(count)
    assert names == ADE_STUFF | ADE_THINGS


def test_places_lists_match_the_files(rendering):
    root = rendering.root / "places365_standard"
    categories = dict(
        line.split() for line in (root / "categories_places365.txt").read_text().splitlines()
    )
    assert categories["/a/airfield"] == "0"
    assert [name.split("/")[2] for name in categories] == list(PLACES)
    assert list(categories.values()) == [str(label) for label in range(len(PLACES))]
    for split, count in (("train", 2), ("val", 1)):
        listed = dict(line.split() for line in (root / f"{split}.txt").read_text().splitlines())
        files = {
            path.relative_to(root / split).as_posix() for path in (root / split).rglob("*.jpg")
        }
        assert set(listed) == files
        assert len(files) == count * len(PLACES)
        for path, label in listed.items():
            category = path.split("/")[0]
            assert categories[f"/{category[0]}/{category}"] == label


def _unpickle(path: Path) -> dict[bytes, object]:
    with path.open("rb") as file:
        return pickle.load(file, encoding="bytes")


def test_cifar_batches_have_the_official_format(rendering):
    root = rendering.root / "cifar-10-batches-py"
    counts = {f"data_batch_{number}": 10 for number in range(1, 6)} | {"test_batch": 20}
    assert {path.name for path in root.iterdir()} == {*counts, "batches.meta"}
    for name, count in counts.items():
        batch = _unpickle(root / name)
        assert set(batch) == {b"batch_label", b"labels", b"data", b"filenames"}
        assert batch[b"data"].shape == (count, 3072)
        assert batch[b"data"].dtype == np.uint8
        assert len(batch[b"filenames"]) == len(set(batch[b"filenames"])) == count
        assert np.bincount(batch[b"labels"], minlength=10).tolist() == [count // 10] * 10
    assert _unpickle(root / "data_batch_3")[b"batch_label"] == b"training batch 3 of 5"
    assert _unpickle(root / "test_batch")[b"batch_label"] == b"testing batch 1 of 1"


def test_cifar_meta(rendering):
    meta = _unpickle(rendering.root / "cifar-10-batches-py" / "batches.meta")
    assert meta == {
        b"num_cases_per_batch": 10,
        b"label_names": [name.encode() for name in CIFAR10],
        b"num_vis": 3072,
    }


def test_no_image_appears_twice(rendering):
    digests = [
        hashlib.sha256(path.read_bytes()).digest()
        for path in rendering.root.rglob("*")
        if path.suffix in (".jpg", ".JPEG")
    ]
    for path in (rendering.root / "cifar-10-batches-py").glob("*_batch*"):
        digests += [hashlib.sha256(row.tobytes()).digest() for row in _unpickle(path)[b"data"]]
    assert len(digests) == 80 + 40 + 42 + 14 + 36 + 70
    assert len(set(digests)) == len(digests)
