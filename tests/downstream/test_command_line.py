"""Bad input on the command line: one line on standard error, exit status 2."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from downstream.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
RANDOM = ["--backbone", "random:resnet10d_narrow"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["detect", *RANDOM, "--protocol", "dmeo"], "unknown protocol 'dmeo': did you mean demo?"),
        (["segment", *RANDOM, "--dataset", "camvidd"], "unknown dataset of the demo protocol"),
        (["detect", *RANDOM, "--dataset", "vok"], "did you mean voc"),
        (["detect", *RANDOM, "--detector", "fnp"], "unknown detector 'fnp': did you mean fpn?"),
        (["detect", "--variant", "bets"], "unknown recipe 'bets': did you mean best"),
        (["probe", *RANDOM], "name the dataset to probe on (DATASET=): ade20k, cifar10"),
        (["segment"], "name one backbone"),
        (["segment", "--variant", "best", *RANDOM], "name one backbone"),
        (
            ["segment", "--backbone", "resnet50"],
            "did you mean best-120 or best?; other backbones are random:NAME",
        ),
        (
            ["detect", "--variant", "best", "--seed", "4"],
            "make pretrain VARIANT=best PROTOCOL=demo SEED=4",
        ),
        (["probe", *RANDOM, "--dataset", "voc"], "not a classification dataset"),
        (
            ["probe", *RANDOM, "--dataset", "cifar10", "--cfg-options", "penaltys=[1]"],
            "did you mean penalties?",
        ),
        (
            ["detect", *RANDOM, "--cfg-options", "train_cfg.max_epoch=2"],
            "unknown option train_cfg.max_epoch: setting 'max_epoch': did you mean max_epochs?",
        ),
        (["segment", *RANDOM, "--cfg-options", "epochs"], "is not of the form key=value"),
        (
            ["probe", *RANDOM, "--dataset", "cifar10", "--train-size", "1000"],
            "a training set of 1000: expected 2 to 40 samples",
        ),
        (
            ["probe", *RANDOM, "--dataset", "cifar10", "--mode", "knn", "--cfg-options", "k=3"],
            "unknown option k: setting 'k'",
        ),
        (
            ["probe", *RANDOM, "--dataset", "cifar10", "--mode", "finetune", "--train-size", "0"],
            "a training set of 0",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("clean_environment")
def test_bad_input_is_one_line(
    argv: list[str], said: str, data_root: Path, tmp_path: Path, one_line: Callable
):
    assert main([*argv, "--data", str(data_root), "--runs", str(tmp_path)]) == 2
    assert said in one_line()
    assert not list(tmp_path.rglob("record.json"))
    assert not list(tmp_path.rglob("work"))


@pytest.mark.parametrize(
    "argv",
    [["detect"], ["instances"], ["segment"], ["probe", "--dataset", "cifar10"]],
    ids=" ".join,
)
@pytest.mark.usefixtures("clean_environment")
def test_data_that_are_not_there(argv: list[str], tmp_path: Path, one_line: Callable):
    where = ["--data", str(tmp_path / "none"), "--runs", str(tmp_path)]
    assert main([*argv, *RANDOM, *where]) == 2
    message = one_line()
    assert "no such folder" in message
    assert "make data PROTOCOL=demo" in message


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[:-9], "Invalid JSON"),
        (lambda text: text.replace('"category_id": ', '"category_id": 99'), "annotation 1: no cat"),
        (lambda text: text.replace('"segmentation"', '"segment"', 1), "annotations.0.segmentation"),
        (lambda text: text.replace("000002.jpg", "000009.jpg"), "JPEGImages/000009.jpg: named in"),
    ],
    ids=["not JSON", "unknown category", "no segmentation", "missing image"],
)
@pytest.mark.usefixtures("clean_environment")
def test_masks_that_do_not_fit_are_named(
    spoil: Callable[[str], str], said: str, data_root: Path, tmp_path: Path, one_line: Callable
):
    shutil.copytree(data_root / "demo" / "VOCdevkit", tmp_path / "data" / "demo" / "VOCdevkit")
    path = tmp_path / "data" / "demo" / "VOCdevkit" / "annotations" / "instances_test.json"
    path.write_text(spoil(path.read_text()))
    where = ["--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs")]
    assert main(["instances", *RANDOM, *where]) == 2
    message = one_line()
    assert said in message
    assert "instances_test.json" in message


@pytest.mark.parametrize("stage", ["detect", "segment"])
def test_the_command_itself_refuses_a_misnamed_tensor(
    stage: str, exchange: Callable, rename_tensor: Callable, tmp_path: Path
):
    path = exchange()
    rename_tensor(path, "layer2.0.conv2.weight", "layer2.0.conv2.wieght")
    command = [sys.executable, "-m", "downstream", stage, "--backbone", f"file:{path}"]
    done = subprocess.run(
        [*command, "--runs", str(tmp_path / "runs")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    ours = [line for line in done.stderr.splitlines() if line.startswith("trickbench: ")]
    assert len(ours) == 1
    assert "layer2.0.conv2.weight is not in the checkpoint" in ours[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()
