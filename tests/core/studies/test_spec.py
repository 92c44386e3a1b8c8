"""Study files: the project's own, and mistakes in one of the user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import configs
from core.errors import InputError
from core.studies import spec

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
