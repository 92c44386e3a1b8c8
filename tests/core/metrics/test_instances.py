"""COCO's AP of masks and boxes: by hand, against its definition in NumPy, and pycocotools' own."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from core.metrics import instances
from core.metrics.detection import DetectionResults, Detections, GroundTruth
from core.metrics.instances import InstanceResults
from core.metrics.statistic import values

HEIGHT, WIDTH = 24, 32
CLASSES = ("cat", "dog", "owl")


@dataclass
class Thing:
    """A detection, or an object if it has no score. The box is the mask's, unless one is given."""

    image: int
    label: int
    mask: np.ndarray
    score: float | None = None
    crowd: bool = False
    box: tuple[float, float, float, float] | None = None

    def corners(self) -> tuple[float, float, float, float]:
        if self.box is not None:
            return self.box
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def _rectangle(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def _counts(mask: np.ndarray) -> bytes:
    return run_lengths.encode(np.asfortranarray(mask, np.uint8))["counts"]


def _results(things: list[Thing], images: int) -> InstanceResults:
    """The things as a test has them."""

    def of_image(image: int, found: bool) -> list[Thing]:
        return [it for it in things if it.image == image and (it.score is not None) == found]

    def columns(of: list[Thing]) -> tuple[np.ndarray, np.ndarray]:
        boxes = np.array([it.corners() for it in of], np.float32).reshape(-1, 4)
        return boxes, np.array([it.label for it in of], int)

    detections, truths, masks, object_masks = [], [], [], []
    for image in range(images):
        guesses, objects = of_image(image, True), of_image(image, False)
        boxes, labels = columns(guesses)
        detections.append(Detections(boxes, np.array([it.score for it in guesses]), labels))
        crowds = np.array([it.crowd for it in objects], bool)
        truths.append(GroundTruth(*columns(objects), crowds))
        masks.append(tuple(_counts(it.mask) for it in guesses))
        object_masks.append(tuple(_counts(it.mask) for it in objects))
    names = tuple(f"image {i}" for i in range(images))
    boxes = DetectionResults(CLASSES, names, tuple(detections), tuple(truths))
    sizes = np.full((images, 2), (HEIGHT, WIDTH))
    return InstanceResults(boxes, sizes, tuple(masks), tuple(object_masks))


def _measure(things: list[Thing], images: int = 1) -> dict[str, float]:
    return values(_results(things, images))


# ---- by hand


def test_perfect_instances_are_100_percent():
    masks = [_rectangle(1, 2, 9, 8), _rectangle(10, 10, 30, 20), _rectangle(3, 3, 20, 9)]
    objects = [Thing(i % 2, i, mask) for i, mask in enumerate(masks)]
    found = [replace(it, score=0.3 + i / 10) for i, it in enumerate(objects)]
    assert _measure([*objects, *found], 2) == pytest.approx(
        dict.fromkeys(("mask_ap", "mask_ap50", "box_ap", "box_ap50"), 100)
    )


def test_nothing_found_is_0_percent():
    assert set(_measure([Thing(0, 0, _rectangle(1, 2, 9, 8))]).values()) == {0.0}
    assert set(_measure([]).values()) == {0.0}


def test_a_shifted_mask_in_the_right_box():
    # 10 columns shifted by 2: IoU 8 / 12, which is enough for 0.50, 0.55, 0.60 and 0.65
    box = (4.0, 5.0, 14.0, 15.0)
    truth = Thing(0, 1, _rectangle(4, 5, 14, 15), box=box)
    found = Thing(0, 1, _rectangle(6, 5, 16, 15), 0.9, box=box)
    assert _measure([truth, found]) == pytest.approx(
        {"mask_ap": 40, "mask_ap50": 100, "box_ap": 100, "box_ap50": 100}
    )


def test_a_shifted_box_with_the_right_mask():
    # 10 columns shifted by 4: IoU 6 / 14, too little for any threshold
    mask = _rectangle(4, 5, 14, 15)
    found = Thing(0, 1, mask, 0.9, box=(8.0, 5.0, 18.0, 15.0))
    assert _measure([Thing(0, 1, mask), found]) == pytest.approx(
        {"mask_ap": 100, "mask_ap50": 100, "box_ap": 0, "box_ap50": 0}
    )


def test_an_object_that_is_missed():
    # recall ends at 1 / 2: 51 of the recalls 0, 0.01 ... 1 are reached, at precision 1
    objects = [Thing(0, 0, _rectangle(1, 1, 9, 9)), Thing(1, 0, _rectangle(1, 1, 9, 9))]
    found = replace(objects[0], score=0.9)
    assert _measure([*objects, found], 2)["mask_ap"] == pytest.approx(100 * 51 / 101)


def test_a_class_without_objects_does_not_count():
    truth = Thing(0, 0, _rectangle(1, 1, 9, 9))
    wrong = Thing(0, 2, _rectangle(1, 1, 9, 9), 0.99)
    assert _measure([truth, replace(truth, score=0.5), wrong])["mask_ap"] == pytest.approx(100)


@pytest.mark.parametrize(("crowd", "expected"), [(True, 100), (False, 50)])
def test_what_lies_in_a_crowd_counts_neither_way(crowd: bool, expected: float):
    truth = Thing(0, 0, _rectangle(1, 1, 9, 9))
    group = Thing(0, 0 if crowd else 1, _rectangle(12, 2, 30, 22), crowd=crowd)
    # in the crowd, of which they are a small part, and surer than what is right
    members = [Thing(0, 0, _rectangle(x, 4, x + 4, 10), 0.9) for x in (13, 18)]
    found = [*members[:1], replace(truth, score=0.5)]
    measured = _measure([truth, group, *found])
    # without a crowd: one wrong before the right one, and the other class is not found
    assert measured["mask_ap"] == pytest.approx(expected if crowd else expected / 2)
    if crowd:
        again = _measure([truth, group, *found, members[1]])
        assert again == measured, "any number of them"
        assert measured["box_ap"] == pytest.approx(100)


# ---- against the definition, on random things


def _definition(things: list[Thing], images: int, threshold: float) -> float:
    """AP at one IoU of masks, as cocodataset.org defines it, pixel by pixel."""
    by_class = []
    for label in range(len(CLASSES)):
        mine = [it for it in things if it.label == label]
        outcomes: list[tuple[float, bool]] = []
        for image in range(images):
            here = [it for it in mine if it.image == image]
            truths = [it for it in here if it.score is None]
            taken: set[int] = set()
            for guess in sorted(
                (it for it in here if it.score is not None), key=lambda it: -it.score
            ):
                shared = [np.sum(guess.mask & it.mask) for it in truths]
                overlaps = [
                    both / (guess.mask.sum() if it.crowd else np.sum(guess.mask | it.mask))
                    for both, it in zip(shared, truths, strict=True)
                ]
                free = [
                    i
                    for i, it in enumerate(truths)
                    if overlaps[i] >= threshold and i not in taken and not it.crowd
                ]
                if free:
                    taken.add(max(free, key=lambda i: overlaps[i]))
                    outcomes.append((guess.score, True))
                elif not any(it.crowd and overlaps[i] >= threshold for i, it in enumerate(truths)):
                    outcomes.append((guess.score, False))
        count = sum(it.score is None and not it.crowd for it in mine)
        if count:
            by_class.append(_area(outcomes, count))
    return 100 * float(np.mean(by_class)) if by_class else 0.0


def _area(outcomes: list[tuple[float, bool]], count: int) -> float:
    """The mean over the recalls 0, 0.01 ... 1 of the best precision at that recall or a higher."""
    points, true = [], 0
    for rank, (_, right) in enumerate(sorted(outcomes, key=lambda it: -it[0]), 1):
        true += right
        points.append((true / count, true / rank))
    best = [
        max((precision for recall, precision in points if recall >= wanted), default=0.0)
        for wanted in np.linspace(0, 1, 101)
    ]
    return float(np.mean(best))


def _random_things(seed: int, images: int) -> list[Thing]:
    """Blobs, and guesses at most of them: too small, too large, of another class, or twice."""
    rng = np.random.default_rng(seed)
    things = []
    for image in range(images):
        for _ in range(rng.integers(0, 4)):
            left, top = rng.integers(0, WIDTH - 12), rng.integers(0, HEIGHT - 10)
            mask = _rectangle(left, top, left + rng.integers(5, 12), top + rng.integers(5, 10))
            mask &= rng.random(mask.shape) < 0.97
            label = int(rng.integers(len(CLASSES)))
            things.append(Thing(image, label, mask, crowd=bool(rng.random() < 0.15)))
            for _ in range(rng.integers(0, 3)):
                guess = np.roll(mask, rng.integers(-1, 2, 2) * (rng.random() < 0.5), (0, 1))
                guess = guess & (rng.random(mask.shape) < rng.uniform(0.7, 1))
                other = int(rng.integers(len(CLASSES))) if rng.random() < 0.2 else label
                things.append(Thing(image, other, guess, score=float(rng.random())))
    return things


@pytest.mark.parametrize("seed", range(4))
def test_random_cases_agree_with_the_definition(seed: int):
    things = _random_things(seed, 12)
    expected = [_definition(things, 12, t) for t in np.linspace(0.5, 0.95, 10)]
    measured = _measure(things, 12)
    assert measured["mask_ap50"] == pytest.approx(expected[0], abs=1e-9)
    assert measured["mask_ap"] == pytest.approx(np.mean(expected), abs=1e-9)
    assert 5 < measured["mask_ap"] < measured["mask_ap50"] < 95, "the case has something of each"


@pytest.mark.parametrize("seed", range(2))
def test_weighted_images_are_repeated_images(seed: int):
    things, images = _random_things(seed, 10), 10
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(images, np.full(images, 1 / images), 6).astype(float)
    statistics = _results(things, images).statistics()
    for counts, found in zip(weights, statistics["mask_ap50"](weights), strict=True):
        repeated = [
            replace(it, image=new)
            for new, old in enumerate(np.repeat(np.arange(images), counts.astype(int)))
            for it in things
            if it.image == old
        ]
        assert found == pytest.approx(_definition(repeated, images, 0.5), abs=1e-9)
        whole = _measure(repeated, images)
        for name, statistic in statistics.items():
            assert statistic(counts[None])[0] == pytest.approx(whole[name], abs=1e-9)


# ---- against the whole of pycocotools


@pytest.mark.parametrize("seed", range(4))
def test_random_cases_agree_with_pycocotools(seed: int):
    things = _random_things(100 + seed, 12)
    ids = [5, 17, 90]  # with gaps

    def entry(thing: Thing) -> dict:
        left, top, right, bottom = map(float, thing.corners())
        mask = dict(size=[HEIGHT, WIDTH], counts=_counts(thing.mask).decode())
        return dict(
            image_id=thing.image,
            category_id=ids[thing.label],
            bbox=[left, top, right - left, bottom - top],
            segmentation=mask,
        )

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dict(
            info={},
            images=[dict(id=image, height=HEIGHT, width=WIDTH) for image in range(12)],
            categories=[dict(id=it) for it in ids],
            annotations=[
                entry(it) | dict(id=number, iscrowd=int(it.crowd), area=float(it.mask.sum()))
                for number, it in enumerate(things, 1)
                if it.score is None
            ],
        )
        truth.createIndex()
        expected = {}
        for name, kind in (("mask", "segm"), ("box", "bbox")):
            found = [entry(it) | dict(score=it.score) for it in things if it.score is not None]
            evaluation = COCOeval(truth, truth.loadRes(found), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            expected[f"{name}_ap"], expected[f"{name}_ap50"] = 100 * evaluation.stats[:2]
    assert _measure(things, 12) == pytest.approx(expected, abs=1e-9)


# ---- the file


def test_what_is_read_is_what_was_written(tmp_path: Path):
    things = _random_things(3, 8)
    results = _results(things, 10)  # the last two images have nothing
    instances.save(tmp_path / "instances.npz", results)
    read = instances.load(tmp_path / "instances.npz")
    assert read.images == results.images
    assert read.boxes.classes == CLASSES
    assert read.masks == results.masks
    assert read.object_masks == results.object_masks
    assert read.sizes.tolist() == [[HEIGHT, WIDTH]] * 10
    assert values(read) == pytest.approx(values(results), abs=1e-9)
    mine = next(it for it in things if it.score is None)
    counts = read.object_masks[mine.image][0]
    decoded = run_lengths.decode(dict(size=[HEIGHT, WIDTH], counts=counts))
    np.testing.assert_array_equal(decoded, mine.mask)


def test_a_test_without_anything_can_be_kept(tmp_path: Path):
    instances.save(tmp_path / "instances.npz", _results([], 2))
    assert instances.load(tmp_path / "instances.npz").masks == ((), ())
