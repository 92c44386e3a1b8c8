"""A run's directory: opened once, left alone when finished, set aside for another run."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import runs
from core.errors import InputError
from core.execution import unfinished


def test_a_run_opens_its_directory_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs" / "seed0"

    assert unfinished(out, "one", "weights")
    assert unfinished(out, "one", "weights")
    (out / "weights").touch()
    assert not unfinished(out, "one", "weights")
    assert unfinished(out, "two", "weights"), "another run"

    said = [line.rpartition(": ")[2] for line in capsys.readouterr().out.splitlines()]
    assert said == ["new run", "resume run", "finished", "new run"]
    assert (out.parent / "seed0.1" / "weights").exists()


def test_a_folder_in_which_another_process_works_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "claim", lambda run: "process 5 on ship")

    with pytest.raises(InputError) as caught:
        unfinished(tmp_path / "seed0", "one")

    assert str(caught.value) == (
        f"{tmp_path / 'seed0'}: another run is at work there (process 5 on ship)"
    )
    assert not (tmp_path / "seed0").exists()


def test_what_a_killed_write_has_left_goes_when_the_run_is_taken_up(tmp_path: Path) -> None:
    run = tmp_path / "seed0"
    assert unfinished(run, "same")
    for name in (".state-000000012.pt.x7k2_abc.tmp", ".history.json.00000000.tmp"):
        (run / name).write_bytes(b"half a file")
    (run / "history.json").write_bytes(b"[]")

    assert unfinished(run, "same")

    assert sorted(path.name for path in run.iterdir()) == ["history.json", "identity"]
