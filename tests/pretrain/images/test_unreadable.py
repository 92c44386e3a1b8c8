"""Unreadable files: a run leaves them out, in the same way for any number of processes."""

from __future__ import annotations

import random
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import kills
from core import record
from core.errors import InputError, RunError
from pretrain.images import datasets, loader
from pretrain.recipe import Recipe
from pretrain.training import loop

MakeJob = Callable[..., loop.Job]
Run = Callable[..., int]
CPU = torch.device("cpu")


def bomb() -> bytes:
    """A PNG of 100,000 x 100,000 pixels in its header, with a valid checksum."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    end = b"IEND"
    chunks = (
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, end)
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def encoded(folder: Path, name: str, mode: str = "RGB", **options: object) -> bytes:
    rng = np.random.default_rng(len(name))
    noise = Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8))
    if mode == "I;16":
        noise = Image.fromarray(rng.integers(0, 65536, (40, 48), dtype=np.uint16))
    path = folder / name
    (noise if mode in ("RGB", "I;16") else noise.convert(mode)).save(path, **options)
    content = path.read_bytes()
    path.unlink()
    return content


def write_unusual(folder: Path) -> set[str]:
    """Writes unusual and unreadable files; returns the names of the unreadable ones."""
    jpeg, png = encoded(folder, "x.jpeg"), encoded(folder, "x.png")
    readable = {
        "grey.jpeg": encoded(folder, "x.jpeg", "L"),
        "cmyk.jpeg": encoded(folder, "x.jpeg", "CMYK"),
        "progressive.jpeg": encoded(folder, "x.jpeg", progressive=True),
        "palette.png": encoded(folder, "x.png", "P"),
        "transparent.png": encoded(folder, "x.png", "RGBA"),
        "sixteen.png": encoded(folder, "x.png", "I;16"),
        "png-by-another-name.jpeg": png,
    }
    unreadable = {
        "bomb.png": bomb(),
        "empty.jpeg": b"",
        "header.jpeg": jpeg[:300],
        "page.jpeg": b"<html>404 not found</html>",
        "torn.jpeg": jpeg[: len(jpeg) // 2],
        "torn.png": png[: len(png) // 2],
        "zeros.jpeg": bytes(5000),
    }
    for name, content in (readable | unreadable).items():
        (folder / name).write_bytes(content)
    (folder / "folder.jpeg").mkdir()
    (folder / "nowhere.jpeg").symlink_to(folder / "absent")
    return {*unreadable, "folder.jpeg", "nowhere.jpeg"}


def listed(run: Path) -> dict[str, str]:
    """The rows of a run's unreadable.tsv, checked for their format."""
    lines = (run / "unreadable.tsv").read_text().splitlines()
    assert lines == sorted(lines)
    pairs = [line.split("\t") for line in lines]
    assert all(len(pair) == 2 and all(pair) for pair in pairs)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


# --- whole runs


@pytest.fixture(scope="module")
def unusual(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[Path]]:
    """A rendered set with unusual files in both splits, and the unreadable ones."""
    folder = tmp_path_factory.mktemp("unusual") / "images"
    kills.render(folder)
    names = {folder / k / name for k in ("train", "val") for name in write_unusual(folder / k)}
    corrupt = {folder / k / f"{kills.CORRUPT:02d}.jpeg" for k in ("train", "val")}
    return folder, names | corrupt


PLAIN = next(s for s, _ in kills.SETTINGS if s.recipe is kills.PLAIN)
SHORT = replace(PLAIN, recipe=replace(kills.PLAIN, epochs=3), workers=0)


@pytest.fixture(scope="module")
def reference(
    unusual: tuple[Path, set[Path]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, object]:
    folder = unusual[0].parent / "reference"
    folder.mkdir()
    return kills.refer(folder, SHORT).result | {"folder": folder}


def test_a_run_with_unreadable_files_ends_and_lists_them(
    unusual: tuple[Path, set[Path]], reference: dict
) -> None:
    found = listed(reference["folder"] / "run")

    assert {Path(name) for name in found} == unusual[1]
    reasons = {Path(name).name: reason for name, reason in found.items()}
    assert reasons["bomb.png"] == "more than 178956970 pixels"
    assert reasons["empty.jpeg"] == "empty file"
    assert reasons["nowhere.jpeg"] == "No such file or directory"
    assert reasons["folder.jpeg"] == "Is a directory"
    assert reasons["page.jpeg"] == "not an image in a known format"


def test_evaluation_counts_the_readable_images(
    unusual: tuple[Path, set[Path]], reference: dict
) -> None:
    every = list((unusual[0] / "val").iterdir())
    unreadable = [path for path in unusual[1] if path.parent.name == "val"]

    assert len(unreadable) == 10
    assert {entry["samples"] for entry in reference["history"]} == {len(every) - 10}
    output = (reference["folder"] / "output").read_text()
    assert f" of {len(every) - 10}, 20 unreadable files" in output


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_neither_the_list_nor_the_weights(
    unusual: tuple[Path, set[Path]], reference: dict, workers: int
) -> None:
    folder = unusual[0].parent / f"workers{workers}"
    folder.mkdir()

    attempt = kills.start(folder, replace(SHORT, workers=workers))
    attempt.wait()

    assert attempt.codes() == [0]
    found = kills.result(folder / "run")
    assert {key: reference[key] for key in found} == found


def test_two_processes_make_the_same_list(unusual: tuple[Path, set[Path]], reference: dict) -> None:
    folder = unusual[0].parent / "two"
    folder.mkdir()

    found = kills.refer(folder, replace(SHORT, processes=2)).result

    assert found["unreadable"] == reference["unreadable"]
    assert found["history"][-1]["samples"] == reference["history"][-1]["samples"]


def test_a_killed_run_makes_the_same_list(unusual: tuple[Path, set[Path]], tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")  # which pytest shows if this fails
    (tmp_path / "runs").mkdir()
    shutil.copytree(unusual[0], tmp_path / "runs" / "images", symlinks=True)

    row = kills.torment(SHORT, 2, random.Random(seed), tmp_path / "runs")

    assert row.killed >= 2


# --- the replacement of a file


@pytest.fixture
def images(tmp_path: Path, image_folder: Callable[[Path, int, int], None]) -> datasets.ImageSet:
    """Nine images of three classes."""
    image_folder(tmp_path / "set", 3, 3)
    files = tuple(f"class{k}/{i}.JPEG" for k in range(3) for i in range(3))
    return datasets.ImageSet(
        "x", "x", "train", ("a", "b", "c"), np.arange(9) // 3, tmp_path / "set", files
    )


@pytest.mark.parametrize(
    ("broken", "asked", "taken"),
    [([4], 4, 5), ([4, 5, 6], 4, 7), ([4, 5, 6], 6, 7), ([8], 8, 0), ([7, 8, 0, 1], 7, 2)],
)
def test_an_unreadable_file_is_replaced_by_the_next_readable_one(
    images: datasets.ImageSet, tiny_recipe: Recipe, broken: list[int], asked: int, taken: int
) -> None:
    """It has that file's label and the crop drawn for the first; after the last comes file 0."""
    key = (2, asked, 0)
    alone = replace(images, files=(images.files[taken],) * 9, labels=np.full(9, taken // 3))
    pixels, label, none = loader.TrainingView(alone, tiny_recipe, 5)[key]
    for number in broken:
        Path(images.path(number)).write_bytes(b"no image")

    found = loader.TrainingView(images, tiny_recipe, 5)[key]

    assert torch.equal(found[0], pixels)
    assert found[1] == label == taken // 3
    assert none == []
    skipped = broken[broken.index(asked) :]
    reason = "not an image in a known format"
    assert found[2] == [(images.path(number), reason) for number in skipped]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_set_without_a_readable_image_ends_the_run(
    make_job: MakeJob, images: datasets.ImageSet, tiny_recipe: Recipe, workers: int
) -> None:
    for number in range(9):
        Path(images.path(number)).write_bytes(b"")
    settings = replace(tiny_recipe, batch_size=4)

    with pytest.raises(InputError, match=f"{images.root}: none of the 9 images can be read"):
        loop.fit(make_job(settings, train=images, workers=workers))


def test_a_test_split_without_a_readable_image_ends_the_run(
    make_job: MakeJob, images: datasets.ImageSet, tiny_recipe: Recipe
) -> None:
    for number in range(9):
        Path(images.path(number)).unlink()

    with pytest.raises(RunError, match="none of the 9 images of train can be read"):
        loop.fit(make_job(tiny_recipe, test=images))


@pytest.mark.parametrize("workers", [0, 2])
def test_find_unreadable_lists_all_in_order(images: datasets.ImageSet, workers: int) -> None:
    for number in (7, 2, 5):
        Path(images.path(number)).write_bytes(b"")

    found = loader.find_unreadable(images, workers)

    assert found == [(images.path(number), "empty file") for number in (2, 5, 7)]


# --- the command


@pytest.fixture
def broken(run: Run, tmp_path: Path) -> list[Path]:
    """Two unreadable files in the command's dataset."""
    root = tmp_path / "data/demo/imagenet"
    paths = [root / "train/class1/3.JPEG", root / "val/class2/1.JPEG"]
    for path in paths:
        path.write_bytes(path.read_bytes()[:200])
    return paths


def test_the_record_counts_what_was_read(run: Run, broken: list[Path], tmp_path: Path) -> None:
    assert run("smooth") == 0

    out = tmp_path / "runs/demo/pretrain/smooth/seed0"
    found = record.read(out / "record.json")
    assert {metric.samples for metric in found.metrics.values()} == {11}
    assert found.dataset.sizes == {"train": 48, "val": 12}
    assert {Path(name) for name in listed(out)} == set(broken)


@pytest.mark.parametrize("workers", [0, 2])
def test_strict_refuses_before_training_and_lists_them(
    run: Run,
    broken: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    workers: int,
) -> None:
    assert run("smooth", "--strict", workers=workers) == 2

    out = tmp_path / "runs/demo/pretrain/smooth/seed0"
    assert not (out / "tensorboard").exists(), "the training has not started"
    err = capsys.readouterr().err
    assert err.startswith(f"trickbench: 2 of 60 files cannot be read; first {broken[0]}: ")
    assert err.endswith(f"All are in {out / 'unreadable.tsv'}\n")
    assert err.count("\n") == 1
    assert {Path(name) for name in listed(out)} == set(broken)


def test_strict_accepts_a_readable_set(run: Run) -> None:
    assert run("smooth", "--strict") == 0


def test_a_set_without_a_readable_image_is_reported_in_one_line(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data/demo/imagenet"
    for path in root.rglob("train/*/*.JPEG"):
        path.write_bytes(b"")

    for workers in (0, 2):
        assert run("smooth", workers=workers) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert err.startswith("trickbench: ")
        assert err.endswith(f"{root}: none of the 48 images can be read\n")
