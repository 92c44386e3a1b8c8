"""Rendering: reproducible and atomic, and no other files are lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from demo import imagenet
from demo.__main__ import main
from demo.render import (
    DATA_SETS,
    MANIFEST,
    VERSION,
    ForeignFolderError,
    render,
    tree_digest,
)
from demo.sizes import Sizes

SMALLEST = Sizes(*[1] * 11)
ROOT = Path(__file__).parents[2]


def test_processes_do_not_change_a_byte(rendering, tmp_path):
    again = render(tmp_path / "demo", seed=0, sizes=rendering.sizes, processes=2)
    assert again == rendering.manifest


def test_another_seed_renders_other_bytes(tmp_path):
    first = render(tmp_path / "a", seed=0, sizes=SMALLEST)
    second = render(tmp_path / "b", seed=1, sizes=SMALLEST)
    assert first["counts"] == second["counts"]
    assert first["sha256"] != second["sha256"]


def test_images_do_not_depend_on_the_sizes(rendering, tmp_path):
    render(tmp_path / "demo", seed=0, sizes=SMALLEST)
    for path in (tmp_path / "demo").rglob("*"):
        if path.suffix in (".JPEG", ".jpg", ".png", ".xml"):
            same = rendering.root / path.relative_to(tmp_path / "demo")
            assert same.read_bytes() == path.read_bytes()


def test_manifest_describes_the_files(rendering):
    manifest = json.loads((rendering.root / MANIFEST).read_text())
    assert manifest == rendering.manifest
    assert manifest["seed"] == 0
    assert manifest["sizes"] == vars(rendering.sizes)
    assert manifest["sha256"] == tree_digest(rendering.root)
    assert manifest["counts"]["imagenet"] == {"train": 80, "val": 40}


def test_a_finished_rendering_is_not_rendered_again(tmp_path):
    out, messages = tmp_path / "demo", []
    first = render(out, sizes=SMALLEST, report=messages.append)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert render(out, sizes=SMALLEST, report=messages.append) == first
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times
    assert "up to date" in messages[-1]


def test_a_rendering_of_another_seed_or_size_is_replaced(tmp_path):
    out, messages = tmp_path / "demo", []
    render(out, seed=0, sizes=SMALLEST)
    manifest = render(out, seed=1, sizes=SMALLEST, report=messages.append)
    assert "another seed" in messages[0]
    assert json.loads((out / MANIFEST).read_text()) == manifest
    assert manifest["seed"] == 1
    larger = render(out, seed=1, sizes=replace(SMALLEST, cifar_test=3))
    assert larger["counts"]["cifar-10-batches-py"]["test_batch"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_every_dataset_has_a_part_in_the_version():
    assert VERSION.startswith("trickbench-demo-")
    versions = VERSION.removeprefix("trickbench-demo-").split(".")
    assert [int(it) for it in versions] == [it.VERSION for it in DATA_SETS.values()]


def test_an_older_versions_rendering_is_replaced(tmp_path):
    out, messages = tmp_path / "demo", []
    first = render(out, sizes=SMALLEST)
    older = first | {"version": "trickbench-demo-2"}
    (out / MANIFEST).write_text(json.dumps(older))
    assert render(out, sizes=SMALLEST, report=messages.append) == first
    assert "another version" in messages[0]


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "demo").mkdir()
    render(tmp_path / "demo", sizes=SMALLEST)
    assert (tmp_path / "demo" / MANIFEST).exists()


@pytest.mark.parametrize("manifest", [None, "{}", "[1]", "no json", '{"version": "other-1"}'])
def test_foreign_folders_are_refused(tmp_path, capsys, manifest):
    out = tmp_path / "demo"
    out.mkdir()
    (out / "thesis.tex").write_text("precious")
    if manifest is not None:
        (out / MANIFEST).write_text(manifest)
    before = sorted(out.iterdir())
    with pytest.raises(ForeignFolderError):
        render(out, sizes=SMALLEST)
    assert main(["--out", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(out.iterdir()) == before
    assert (out / "thesis.tex").read_text() == "precious"


def test_other_files_in_an_older_rendering_are_not_deleted(tmp_path):
    out = tmp_path / "demo"
    render(out, seed=0, sizes=SMALLEST)
    (out / "notes.txt").write_text("precious")
    with pytest.raises(ForeignFolderError, match=r"notes\.txt"):
        render(out, seed=1, sizes=SMALLEST)
    assert (out / "notes.txt").read_text() == "precious"
    render(out, seed=0, sizes=SMALLEST)  # up to date: nothing to replace


def test_a_failed_rendering_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr(imagenet, "finish", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        render(tmp_path / "demo", sizes=SMALLEST)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_rendering_does_not_look_finished(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "demo", "--out", str(tmp_path / "demo"), "--processes", "1"],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while not any(tmp_path.rglob("*.JPEG")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert any(tmp_path.rglob("*.JPEG")), "killed while rendering"
    assert not (tmp_path / "demo").exists()
    assert not any(tmp_path.rglob(MANIFEST))


def test_options_are_checked(capsys):
    for arguments in ([], ["--out", "x", "--seed", "-1"], ["--out", "x", "--processes", "0"]):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
    capsys.readouterr()


def test_sheet(tmp_path):
    assert main(["--sheet", str(tmp_path / "sheet.png")]) == 0
    assert (tmp_path / "sheet.png").stat().st_size > 100_000
