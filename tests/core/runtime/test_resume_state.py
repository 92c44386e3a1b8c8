"""The resume states: intact or passed over, and what a failed write leaves."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.errors import Diverged, InputError
from core.runtime import resume_state


def tensors() -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    return {
        "fc.weight": torch.from_numpy(rng.normal(size=(4, 6)).astype(np.float32)),
        "bn.running_var": torch.ones(4),
    }


CPU = torch.device("cpu")
WEIGHTS = torch.arange(200.0)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_state_round_trip(tmp_path: Path) -> None:
    state = {"model": tensors(), "step": 12, "accuracy": [1.5, 2.5, 3], "nested": {"lr": [0.1]}}
    folder = tmp_path / "run"
    assert resume_state.load_state(folder, CPU) is None

    resume_state.save_state(folder, 12, state, "")

    found = resume_state.load_state(folder, CPU)
    model = found.pop("model")
    assert found == {"step": 12, "accuracy": [1.5, 2.5, 3], "nested": {"lr": [0.1]}}
    assert all(torch.equal(model[name], tensor) for name, tensor in tensors().items())
    assert names(folder) == ["state-000000012.pt"]


def save(folder: Path, *steps: int) -> None:
    for step in steps:
        resume_state.save_state(folder, step, {"model": {"w": WEIGHTS + step}, "step": step}, "")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory with the states of steps 9 and 12."""
    save(tmp_path / "run", 9, 12)
    return tmp_path / "run"


def test_the_two_newest_by_step_are_kept(run: Path) -> None:
    save(run, 100)
    assert names(run) == ["state-000000012.pt", "state-000000100.pt"]

    save(run, 999_999, 1_000_000, 100_000_000)
    assert names(run) == ["state-001000000.pt", "state-100000000.pt"]
    assert resume_state.load_state(run, CPU)["step"] == 100_000_000


NEWEST, BEFORE = "state-000000012.pt", "state-000000009.pt"


def assert_skipped(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest state is reported as damaged in one line, and the one before is loaded."""
    capsys.readouterr()
    found = resume_state.load_state(run, CPU)

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"trickbench: {run / NEWEST}: the saved state is damaged (")
    assert err.endswith("); skipped\n")
    assert err.count("\n") == 1
    assert found["step"] == 9
    assert torch.equal(found["model"]["w"], WEIGHTS + 9)


def test_a_state_truncated_anywhere_is_skipped(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (run / NEWEST).read_bytes()
    for kept in {0, 1, 10, *range(30, len(whole), 37), len(whole) - 1}:
        (run / NEWEST).write_bytes(whole[:kept])
        assert_skipped(run, capsys)


@pytest.mark.parametrize("content", [b"not a state", b"\x80\x04", b"PK\x03\x04" + bytes(100)])
def test_a_file_that_is_not_a_state_is_skipped(
    run: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / NEWEST).write_bytes(content)
    assert_skipped(run, capsys)


def test_a_block_of_zeros_in_a_state_is_skipped(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a crash some file systems have a file's length on disk but not its content."""
    whole = (run / NEWEST).read_bytes()
    for start in range(0, len(whole) - 512, 512):
        (run / NEWEST).write_bytes(whole[:start] + bytes(512) + whole[start + 512 :])
        try:
            assert_skipped(run, capsys)
        except AssertionError:
            # the block was zero before, or has no meaning
            found = resume_state.load_state(run, CPU)
            assert found["step"] == 12
            assert torch.equal(found["model"]["w"], WEIGHTS + 12)


def test_a_state_with_one_wrong_bit_in_its_weights_is_skipped(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray((run / NEWEST).read_bytes())
    place = bytes(content).index((WEIGHTS + 12).numpy().tobytes()) + 100
    content[place] ^= 4
    (run / NEWEST).write_bytes(content)

    assert_skipped(run, capsys)


def test_a_wrong_bit_anywhere_is_detected_or_changes_nothing(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")  # pytest shows it if the test fails
    rng = random.Random(seed)
    whole = (run / NEWEST).read_bytes()
    detected = 0
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        (run / NEWEST).write_bytes(damaged)

        found = resume_state.load_state(run, CPU)

        step = found["step"]
        assert step in (9, 12)
        assert torch.equal(found["model"]["w"], WEIGHTS + step)
        detected += step == 9
    assert detected > 200


def test_only_damaged_states_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in run.iterdir():
        path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(InputError) as caught:
        resume_state.load_state(run, CPU)

    assert str(caught.value) == (
        f"{run}: every saved state is damaged; remove the folder to restart the run"
    )
    assert capsys.readouterr().err.count("; skipped\n") == 2


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.path}",)


def test_a_state_that_calls_anything_is_skipped_and_calls_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"model": Evil(tmp_path / "called")}, run / NEWEST)

    assert_skipped(run, capsys)

    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("place", "name"),
    [(("model", "w"), "model.w"), (("optimiser", "state", 0), "optimiser.state.0")],
)
def test_what_is_not_finite_is_not_saved(run: Path, value: float, place: tuple, name: str) -> None:
    state = {"model": {"w": WEIGHTS.clone()}, "optimiser": {"state": [torch.ones(2, 2)]}}
    holder = state
    for key in place:
        holder = holder[key]
    holder.view(-1)[1] = value
    before = {path: path.read_bytes() for path in run.iterdir()}

    with pytest.raises(Diverged, match=rf"^step 15: {name} is not .*: lower it;"):
        resume_state.save_state(run, 15, state, "lower it")

    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_other_processes_write_nothing_and_raise_the_same_error(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = names(run)
    monkeypatch.setattr(resume_state.distributed, "rank", lambda: 1)
    save(run, 15)
    monkeypatch.setattr(resume_state.distributed, "from_first", lambda ask: "optimiser.w")
    with pytest.raises(Diverged, match=r"^step 15: optimiser\.w is not finite"):
        save(run, 15)
    assert names(run) == before


# --- writing


@pytest.mark.parametrize("moment", ["replace", "fsync"])
def test_a_write_that_fails_leaves_the_old_files(
    run: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in (run / NEWEST, run / BEFORE)}

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, moment, fail)
    with pytest.raises(OSError, match="No space"):
        save(run, 15)

    for path, content in before.items():
        assert path.read_bytes() == content
    assert names(run) == [BEFORE, NEWEST]


@pytest.mark.parametrize("planted", [{}, [1, 2], {"step": 15}, "text"])
def test_a_planted_state_is_skipped(run: Path, planted: object, capsys: Any) -> None:
    torch.save(planted, run / "state-000000099.pt")
    found = resume_state.load_state(run, CPU, ("step", "model"))
    assert found is not None
    assert found["step"] == 12
    assert "state-000000099.pt: the saved state is damaged" in capsys.readouterr().err
