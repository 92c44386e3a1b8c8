"""Study files: the project's own, and mistakes in one of the user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import configs
from core.errors import InputError
from core.studies import spec
from core.studies.__main__ import main

NAMES = [path.stem for path in (configs.CONFIGS / "study").glob("*.yaml")]


@pytest.mark.parametrize("name", NAMES)
def test_every_study_names_what_there_is(name: str) -> None:
    study = spec.read(name)
    protocol = configs.read_protocol(study.protocol)
    assert study.protocol == name
    for backbone in study.backbones:
        assert ":" in backbone or backbone in configs.names("pretrain")
    for task in study.tasks:
        if task.dataset is not None:
            assert configs.dataset_name(protocol, task.dataset)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "protocol: demo\nbackbones: []\ntasks: [detect]\n",
            "backbones: List should have",
        ),
        ("protocol: demo\nbackbones: [best]\ntasks: [detekt]\n", "did you mean detect"),
        ("protocol: demo\nbackbones: [best]\ntasks: [detect]\nseed: 1\n", "seed: Extra inputs"),
        (
            "protocol: demo\nbackbones: [best]\ntasks: [{task: detect, detektor: fpn}]\n",
            "tasks.0.detektor: Extra inputs",
        ),
        ("backbones: [best]\ntasks: [detect]\n", "protocol: Field required"),
        ("protocol: [\n", "not YAML"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_field(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"mine\.yaml: ") as refused:
        spec.read(str(path))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_study_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown study 'dmeo': did you mean demo"):
        spec.read("dmeo")
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read"):
        spec.read(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("backbone", "task", "told"),
    [
        ("bset", "detect", "unknown recipe 'bset'"),
        ("best", "{task: detect, dataset: vco}", "'vco': did you mean voc"),
        ("best", "{task: detect, detector: fpx}", "unknown detector 'fpx'"),
        ("best", "{task: detect, train_size: 9}", "detect takes no --train-size"),
        ("best", "linear", "name the dataset to probe on (DATASET=): "),
        ('"random:resnet18"', "pretrain", "pretrain takes a recipe"),
        ('"random:resnet18"', "{task: detect, arch: resnet50}", "--arch changes a recipe"),
        ("best", "detect, {task: detect, resolutions: [32]}", "detect takes no --resolutions"),
        (
            "best",
            "{task: evaluate, resolutions: [32]}, {task: evaluate, resolutions: [64]}",
            "two runs would share",
        ),
    ],
)
def test_a_study_is_checked_before_anything_runs(
    backbone: str, task: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"protocol: demo\nbackbones: [{backbone}]\ntasks: [{task}]\n")
    assert main(["study", "run", str(path), "--runs", str(tmp_path)]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--jobs", "-1"], ["--jobs", "0"], ["--gpus", "0"]])
def test_counts_are_at_least_one(option: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["study", "plan", "demo", *option])
