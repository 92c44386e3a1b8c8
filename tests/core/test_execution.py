"""A run's directory: opened once, left alone when finished, set aside for another run."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import runs
from core.errors import InputError
from core.execution import unfinished

ONE, TWO = "1" * 64, "2" * 64  # identities


def test_a_run_opens_its_directory_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs" / "seed0"

    assert unfinished(out, ONE, "weights")
    assert unfinished(out, ONE, "weights")
    (out / "weights").touch()
    assert not unfinished(out, ONE, "weights")
    assert unfinished(out, TWO, "weights"), "another run"

    said = [line.rpartition(": ")[2] for line in capsys.readouterr().out.splitlines()]
    assert said == ["new run", "resume run", "finished", "new run"]
    assert (out.parent / "seed0.1" / "weights").exists()


def test_a_folder_in_which_another_process_works_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "claim", lambda run: "process 5 on ship")

    with pytest.raises(InputError) as caught:
        unfinished(tmp_path / "seed0", ONE)

    assert str(caught.value) == (
        f"{tmp_path / 'seed0'}: another run is at work there (process 5 on ship)"
    )
    assert not (tmp_path / "seed0").exists()


def test_what_a_killed_write_has_left_goes_when_the_run_is_taken_up(tmp_path: Path) -> None:
    run = tmp_path / "seed0"
    assert unfinished(run, ONE)
    for name in (".state-000000012.pt.x7k2_abc.tmp", ".history.json.00000000.tmp"):
        (run / name).write_bytes(b"half a file")
    (run / "history.json").write_bytes(b"[]")

    assert unfinished(run, ONE)

    assert sorted(path.name for path in run.iterdir()) == ["history.json", "identity"]


def test_a_record_without_its_product_is_written_again(tmp_path: Path) -> None:
    """A kill between the record and the weights of a pretraining leaves no second attempt."""
    run = tmp_path / "seed0"
    assert runs.begin(run, ONE, "weights") == "new"
    (run / "record.json").write_text("{}")
    assert runs.begin(run, ONE, "weights") == "resume"
    assert (run / "record.json").exists(), "without a state it could not be made again"
    (run / "state-000000009.pt").touch()
    assert runs.begin(run, ONE, "weights") == "resume"
    assert not (run / "record.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["seed0"]


@pytest.mark.parametrize("damage", [b"\xff", b"x", b"3"])
def test_one_damaged_copy_of_the_identity_does_not_matter(tmp_path: Path, damage: bytes) -> None:
    run = tmp_path / "seed0"
    runs.begin(run, ONE)
    (run / "record.json").write_text("{}")
    mark = run / "identity"
    content = mark.read_bytes()
    for place in (5, 70):
        mark.write_bytes(content[:place] + damage + content[place + 1 :])
        assert runs.begin(run, ONE) == "finished"
    assert [path.name for path in tmp_path.iterdir()] == ["seed0"]


@pytest.mark.parametrize("content", [b"", b"no hash\n", b"\xff" * 64])
def test_a_finished_run_of_unknown_identity_is_not_run_again(
    tmp_path: Path, content: bytes
) -> None:
    run = tmp_path / "seed0"
    runs.begin(run, ONE)
    (run / "identity").write_bytes(content)
    with pytest.raises(InputError, match="identity: damaged: expected the same 64 hexadecimal"):
        runs.begin(run, ONE)
    assert [path.name for path in tmp_path.iterdir()] == ["seed0"]


def test_an_identity_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    run = tmp_path / "seed0"
    runs.begin(run, ONE)
    (run / "identity").write_text(f"{ONE}\n")
    assert runs.begin(run, ONE) == "resume"
    assert runs.begin(run, TWO) == "new"
    assert (tmp_path / "seed0.1").is_dir()
