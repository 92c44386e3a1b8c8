"""`trickbench tables`, `table`, `compare` and `runs`: what they print, write and refuse."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from core import exchange, files, record
from core.metrics import classification
from core.record import Record
from core.runs import run_folder
from results.__main__ import main
from results.papers.tables import TABLES
from results.store import query

Make = Callable[..., Record]
Write = Callable[..., Path]


@pytest.fixture
def runs(make: Make, write_record: Write, tmp_path: Path) -> Path:
    """Two backbones with records of pretraining, detection and a linear probe."""
    folder = tmp_path / "runs"
    for recipe, top1, score in (("best", 76.0, 46.0), ("d-efficient", 33.0, 48.0)):
        write_record(folder, make(recipe=recipe, values={"top1": top1}))
        detect = {"stage": "detect", "mirrors": "voc", "values": {"map": score}}
        write_record(folder, make(recipe=recipe, **detect))
        linear = {"stage": "linear", "task": "linear-cifar10", "mirrors": "cifar10"}
        write_record(folder, make(recipe=recipe, values={"top1": top1 / 2}, **linear))
    return folder


def printed(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> str:
    assert main([str(word) for word in words]) == status
    return capsys.readouterr().out


def test_tables_prints_and_writes_those_that_have_records(
    make: Make, write_record: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_record(tmp_path, make())
    out = printed(capsys, "tables", "--protocol", "demo", "--runs", tmp_path)
    with_records = ["costs", "table1", "table6", "table8", "table9"]
    written = sorted(path.name for path in (tmp_path / "demo" / "tables").iterdir())
    assert written == sorted(f"{file}.{end}" for file in with_records for end in ("csv", "md"))
    for file in with_records:
        assert (tmp_path / "demo" / "tables" / f"{file}.md").read_text() in out
    last = out.splitlines()[-1]
    assert last.startswith("No record yet for bag-of-tricks/2, bag-of-tricks/3, ")
    assert last.count(",") == len(TABLES) - len(with_records) - 1


def test_tables_are_written_to_the_out_folder(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(capsys, "tables", "--protocol", "demo", "--runs", runs, "--out", tmp_path / "mine")
    assert (tmp_path / "mine/table8.md").is_file()
    assert not (runs / "demo/tables").exists()


def test_tables_without_records_names_the_folder_and_the_protocols(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "demo").mkdir()
    for runs, protocol, told in (
        (tmp_path, "demo", str(tmp_path / "demo")),
        (tmp_path, "tiny", "no protocol 'tiny'; protocols there: demo;"),
        (tmp_path / "absent", "demo", "protocols there: none;"),
    ):
        assert main(["tables", "--protocol", protocol, "--runs", str(runs)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert told in line
        assert f"`make pretrain VARIANT=b-standard PROTOCOL={protocol}`" in line


def test_one_table_in_any_format(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("--protocol", "demo", "--runs", runs)
    assert r"\toprule" in printed(capsys, "table", "bag-of-tricks/8", *common, "--format", "latex")
    assert "| mine" in printed(capsys, "table", "table8", *common, "--rows", "mine")
    out = runs / "table.csv"
    args = ("--format", "csv", "--out", out)
    assert printed(capsys, "table", "bag-of-tricks/8", *common, *args) == ""
    assert out.read_text().startswith("base model,top1,")
    assert main(["table", "bag-of-tricks/88", "--protocol", "demo", "--runs", str(runs)]) == 1
    assert "no table 'bag-of-tricks/88'; the tables are bag-of-tricks/1" in capsys.readouterr().err


def test_damaged_records_are_counted_and_left_out(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for recipe, value in (("best", float("nan")), ("d-efficient", 101.0)):
        path = runs / "demo" / "detect" / recipe / "seed0" / "record.json"
        document = json.loads(path.read_text())
        document["metrics"]["map"]["value"] = value
        path.write_text(json.dumps(document))
    out = printed(capsys, "table", "bag-of-tricks/8", "--protocol", "demo", "--runs", runs)
    assert "- records skipped: 2" in out
    for recipe, field in (("best", "metrics.map.value: "), ("d-efficient", "metrics.map: ")):
        assert f"- skipped: {runs}/demo/detect/{recipe}/seed0/record.json: {field}" in out
    assert "101.00" not in out


def test_tables_take_the_newest_attempt_unless_told(
    make: Make, write_record: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for day, value in ((1, 51.0), (2, 52.0)):
        finished = datetime(2025, 1, day, tzinfo=UTC)
        write_record(tmp_path, make(values={"top1": value}, finished=finished))
    common = ("table", "table8", "--protocol", "demo", "--runs", tmp_path)
    assert "52.00" in printed(capsys, *common)
    older = printed(capsys, *common, "--take", "demo/pretrain/best/seed0.1")
    assert "51.00" in older
    assert "52.00" not in older
    assert main([str(it) for it in (*common, "--take", "demo/pretrain/best/seed0.7")]) == 1
    assert "seed0.7: no readable record" in capsys.readouterr().err


def test_debug_runs_stay_out_of_tables(
    make: Make, write_record: Write, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_record(runs, make(recipe="mine", stage="detect", mirrors="voc", task="detect-limit8"))
    write_record(runs, make(recipe="mine", config={"limit": 8}))
    for task in ("detect-optim_wrapper.optimizer.lr-0.02", "segment-crop_size-96"):
        stage = task.partition("-")[0]
        write_record(runs, make(recipe="mine", stage=stage, mirrors="voc", task=task))
    write_record(
        runs, make(recipe="mine", stage="detect", mirrors="voc-val", task="detect-demo-voc-val")
    )
    out = printed(capsys, "compare", "--protocol", "demo", "--runs", runs)
    assert "| mine" not in out
    assert "5 debug runs: on part of the data, on a validation split" in out


@pytest.mark.parametrize("task", ["detect", "detect-fpn", "detect-voc", "detect-c4-demo-voc"])
def test_a_detector_and_a_dataset_are_no_debug_run(task: str, make: Make) -> None:
    assert not query.is_debug_run(make(stage="detect", mirrors="voc", task=task))


def test_compare_sorts_and_marks_the_best(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("compare", "--protocol", "demo", "--runs", runs)
    lines = [it for it in printed(capsys, *common).splitlines() if it.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0] == [
        *("backbone", "detect map (demo)", "linear-cifar10 top1 (demo)", "pretrain top1 (demo)")
    ]
    assert cells[2:] == [
        ["d-efficient", "**48.00**", "16.50", "33.00"],
        ["best", "46.00", "**38.00**", "**76.00**"],
    ]
    words = ("--tasks", "linear-*", "--backbones", "d-*", "best", "--metric", "top1")
    out = printed(capsys, *common, *words, "--format", "csv")
    assert [line.split(",")[:2] for line in out.splitlines()] == [
        ["backbone", "linear-cifar10 top1"],
        ["best", "38.00"],
        ["d-efficient", "16.50"],
    ]
    out = printed(capsys, *common, "--tasks", "pretrain", "--metric", "device_hours", "top1")
    assert "pretrain device_hours (h) (demo)" in out
    out = printed(capsys, *common, "--sort", "pretrain top1", "--format", "csv")
    assert [line.split(",")[0] for line in out.splitlines()] == ["backbone", "best", "d-efficient"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--backbones", "bets"), "no record matches backbone 'bets'; found: best, d-efficient"),
        (("--tasks", "segment"), "no record matches task 'segment'; found: detect, linear-cifar10"),
        (
            ("--metric", "ap"),
            "no selected record has the metric ap; known metrics: map, top1, params_m",
        ),
        (("--sort", "map"), "--sort 'map': the columns are detect map, linear"),
        (
            ("best", "d-efficient", "--backbones", "cosine", "--sort", "map"),
            "--backbones, --sort: only for tables; to compare best and d-efficient, leave it out",
        ),
        (("best", "d-efficient", "--format", "markdown"), "--format: only for tables"),
    ],
)
def test_compare_refuses_unknown_names_and_lists_the_known_ones(
    runs: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    assert main(["compare", "--protocol", "demo", "--runs", str(runs), *words]) == 1
    assert told in capsys.readouterr().err


def test_an_error_without_a_file_prints_its_message(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("cannot identify image file 'a.jpg'")  # as PIL has it

    monkeypatch.setattr(files, "write_atomically", broken)
    assert main(["tables", "--protocol", "demo", "--runs", str(runs)]) == 1
    assert capsys.readouterr().err == "cannot identify image file 'a.jpg'\n"


def test_runs_are_listed_and_filtered(
    make: Make, write_record: Write, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = datetime(2025, 2, 1, 9, 30, tzinfo=UTC)
    write_record(runs, make(values={"top1": 77.0}, finished=later))
    out = printed(capsys, "runs", "list", "--runs", runs)
    assert len(out.splitlines()) == 1 + 6
    assert "demo/pretrain/best/seed0 " in out
    assert "2025-02-01 09:30  top1 77.00" in out
    assert printed(capsys, "runs", "--runs", runs) == out  # the list is what is meant
    every = printed(capsys, "runs", "list", "--runs", runs, "task=pre*", "recipe=best", "--all")
    assert [line.split()[0] for line in every.splitlines()[1:]] == [
        "demo/pretrain/best/seed0",
        "demo/pretrain/best/seed0.1",
    ]
    some = printed(capsys, "runs", "list", "--runs", runs, "config.lr=0.1", "task=detect")
    assert len(some.splitlines()) == 1 + 2
    assert main(["runs", "list", "--runs", str(runs), "detect"]) == 1
    assert "'detect': expected FIELD=PATTERN" in capsys.readouterr().err


def test_a_run_is_shown_and_two_are_compared(
    make: Make, write_record: Write, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = printed(capsys, "runs", "show", "demo/detect/best/seed0", "--runs", runs)
    assert "metrics.map.value" in shown
    assert "46.0" in shown
    other = make(
        recipe="best",
        seed=1,
        values={"top1": 70.0},
        fingerprint="e" * 64,
        config={"lr": 0.2, "seed": 1},
        versions={"python": "3.11"},
    )
    write_record(runs, other)
    lines = query.difference(
        record.read(runs / "demo" / "pretrain" / "best" / "seed0" / "record.json"), other
    )
    assert lines == [
        ["config", "seed", "0", "1"],
        ["config", "config.lr", "0.1", "0.2"],
        ["config", "config.seed", "0", "1"],
        ["config", "config.work_dir", "runs/demo/pretrain/best/seed0", "not set"],
        ["data", "dataset.fingerprint", "a" * 64, "e" * 64],
        ["versions", "versions.python", "3.12", "3.11"],
        ["metrics", "metrics.top1.value", "76.0", "70.0"],
    ]
    names = ("demo/pretrain/best/seed0", "demo/pretrain/best/seed1")
    out = printed(capsys, "runs", "diff", *names, "--runs", runs)
    assert len(out.splitlines()) == 1 + len(lines)


def trained(runs: Path, make: Make, write_record: Write) -> tuple[Path, Path]:
    """A pretraining with weights, and a detection that names its record by hash."""
    tensors = {"weight": torch.arange(6.0).reshape(2, 3)}
    weights = exchange.weights_sha256(tensors)
    pretrained = make(recipe="real")
    backbone = pretrained.backbone.model_copy(update={"sha256": weights})
    path = write_record(runs, pretrained.model_copy(update={"backbone": backbone}))
    named = files.sha256_of(path)
    about = exchange.Exchange(
        architecture="resnet50d",
        classes=8,
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        resolution=64,
        crop_ratio=0.875,
        interpolation="bilinear",
        pretrained=True,
        recipe="real",
        protocol="demo",
        seed=0,
        dataset="demo/imagenet",
        record_sha256=named,
    )
    exchange.save_exchange(path.with_name("backbone.safetensors"), tensors, about)
    detect = make(
        recipe="real",
        stage="detect",
        mirrors="voc",
        backbone=backbone.model_copy(update={"record_sha256": named}),
    )
    return path, write_record(runs, detect)


def test_exported_runs_are_runs_with_their_backbones(
    make: Make, write_record: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, out = tmp_path / "runs", tmp_path / "published"
    pretrained, detect = trained(runs, make, write_record)
    words = ("runs", "export", "task=detect", "--runs", runs, "--out", out)
    copies = [out / path.relative_to(runs) for path in (detect, pretrained)]
    assert printed(capsys, *words).splitlines() == [str(path) for path in copies]
    assert [path.read_bytes() for path in copies] == [
        path.read_bytes() for path in (detect, pretrained)
    ]
    sums = (out / "SHA256SUMS").read_text().splitlines()
    assert sums == [f"{files.sha256_of(it)}  {it.relative_to(out)}" for it in copies]
    assert printed(capsys, *words) == ""  # again: nothing to do
    assert "real" in printed(capsys, "table", "table8", "--protocol", "demo", "--runs", out)
    verified = printed(capsys, "runs", "verify", "--runs", out)
    assert verified.splitlines()[-1] == "2 records: 0 wrong, 1 not verified"  # weights stay behind


def test_exported_runs_have_their_per_image_results(
    make: Make, write_record: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, out = tmp_path / "runs", tmp_path / "published"
    content = b"found in each image"
    path = write_record(runs, make(outputs={"correct.npz": hashlib.sha256(content).hexdigest()}))
    path.with_name("correct.npz").write_bytes(content)
    path.with_name("state-000000009.pt").write_bytes(b"stays")
    words = ("runs", "export", "protocol=demo", "--runs", runs, "--out", out)
    copy = out / path.relative_to(runs)
    assert printed(capsys, *words) == f"{copy}\n"
    assert sorted(it.name for it in copy.parent.iterdir()) == ["correct.npz", "record.json"]
    assert copy.with_name("correct.npz").read_bytes() == content

    path.with_name("correct.npz").write_bytes(b"other")
    assert main([*map(str, words)]) == 1
    assert "its hash is not the one in the record" in capsys.readouterr().err


def test_verify_finds_every_changed_byte(
    make: Make, write_record: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrained, detect = trained(tmp_path, make, write_record)
    good = printed(capsys, "runs", "verify", "--runs", tmp_path)
    assert good == "2 records: 0 wrong, 0 not verified\n"

    original = pretrained.read_text()
    pretrained.write_text(original.replace('"value": 50.0', '"value": 51.0'))
    out = printed(capsys, "runs", "verify", "--runs", tmp_path, status=1)
    assert f"wrong: {pretrained}: damaged: the checksum in it" in out
    assert f"not verified: {detect}: its backbone's record" in out
    pretrained.write_text(original)

    weights = pretrained.with_name("backbone.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    out = printed(capsys, "runs", "verify", "--runs", tmp_path, status=1)
    assert f"wrong: {weights}: " in out


def test_verify_checks_the_sums_and_the_outputs(
    make: Make, write_record: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make(stage="detect", mirrors="voc", outputs={"boxes.txt": "f" * 64, "gone": "f" * 64})
    path = write_record(tmp_path, run)
    path.with_name("boxes.txt").write_text("other")
    name = path.relative_to(tmp_path)
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  {name}\n")
    out = printed(capsys, "runs", "verify", "--runs", tmp_path, status=1)
    assert f"wrong: {path}: SHA256SUMS has {'0' * 12}" in out
    assert f"wrong: {path.with_name('boxes.txt')}: " in out
    assert f"not verified: {path.with_name('gone')}: missing" in out


def test_verify_recomputes_the_metrics(
    make: Make, write_record: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of three samples, two are right: 66.67 %. Another value, or another count, is wrong."""
    right = np.array([[True, True], [False, True], [True, True]])
    for value, samples, said in (
        (200 / 3, 3, "0 wrong"),
        (70.0, 3, "top1 66.6667, the record has 70.0000"),
        (200 / 3, 4, "3 images, the record has 4"),
    ):
        run = make(values={"top1": value}, samples=samples, recipe=f"r{value:.0f}{samples}")
        folder = run_folder(tmp_path, "demo", run.task, run.recipe, 0)
        kept = classification.save(folder, right)
        named = run.model_copy(update={"outputs": {kept.name: files.sha256_of(kept)}})
        write_record(tmp_path, named)
        where = f"recipe={run.recipe}"
        status = 0 if said == "0 wrong" else 1
        assert said in printed(capsys, "runs", "verify", where, "--runs", tmp_path, status=status)


def test_verify_finds_what_is_missing_added_or_swapped(
    make: Make, write_record: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = (write_record(tmp_path, make(recipe=name)) for name in ("one", "two"))
    sums = tmp_path / "SHA256SUMS"
    lines = [f"{files.sha256_of(it)}  {it.relative_to(tmp_path)}\n" for it in (one, two)]
    sums.write_text("".join(lines))
    assert "0 wrong" in printed(capsys, "runs", "verify", "--runs", tmp_path)

    sums.write_text(lines[0])
    out = printed(capsys, "runs", "verify", "--runs", tmp_path, status=1)
    assert f"{two}: not listed in SHA256SUMS" in out
    sums.write_text("".join([*lines, f"{'0' * 64}  gone/record.json\n", lines[0]]))
    out = printed(capsys, "runs", "verify", "--runs", tmp_path, status=1)
    assert "gone/record.json: listed in SHA256SUMS, but missing" in out
    assert f"{sums}: line 4: expected" in out
    sums.write_bytes(b"\xff\xfe\n")
    out = printed(capsys, "runs", "verify", "--runs", tmp_path, status=1)
    assert f"{sums}: line 1: expected" in out

    sums.unlink()
    contents = one.read_bytes(), two.read_bytes()
    one.write_bytes(contents[1])
    two.write_bytes(contents[0])
    out = printed(capsys, "runs", "verify", "--runs", tmp_path, status=1)
    assert f"{one}: the record is of pretrain/two/seed0" in out
    assert f"{two}: the record is of pretrain/one/seed0" in out
