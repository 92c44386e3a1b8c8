"""The options that every stage takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core import cli, runs
from core.errors import InputError


def test_defaults() -> None:
    args = cli.arguments("x", "y").parse_args([])

    assert (args.protocol, args.seed, args.dataset, args.cfg_options) == ("demo", 0, None, [])
    assert (args.data, args.runs) == (Path("data"), Path("runs"))


def test_options() -> None:
    words = "--protocol mini --seed 3 --data d --runs r --workers 1 --cfg-options a=1 b=2"
    args = cli.arguments("x", "y").parse_args(words.split())

    assert (args.protocol, args.seed, args.workers) == ("mini", 3, 1)
    assert (args.data, args.runs, args.cfg_options) == (Path("d"), Path("r"), ["a=1", "b=2"])


@pytest.mark.parametrize("words", [["--prot", "demo"], ["--seed", "x"], ["--nonsense"]])
def test_a_misspelt_option_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.arguments("x", "y").parse_args(words)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("cores", "processes", "workers"),
    [(1, 1, 0), (2, 1, 0), (4, 1, 4), (32, 1, 8), (32, 8, 4), (16, 4, 4)],
)
def test_default_workers(
    cores: int, processes: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))

    assert cli.default_workers() == workers


def test_a_limit_is_an_option_like_others() -> None:
    parser = cli.arguments("x", "y")

    assert cli.options(parser.parse_args([])) == []
    words = ["--limit", "64", "--cfg-options", "a=1"]
    assert cli.options(parser.parse_args(words)) == ["a=1", "limit=64"]


def test_a_run_opens_its_folder_once_and_touches_a_finished_product(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs" / "seed0"

    assert runs.unfinished(out, "one", "weights")
    assert runs.unfinished(out, "one", "weights")
    (out / "weights").touch()
    os.utime(out / "weights", (1e9, 1e9))
    assert not runs.unfinished(out, "one", "weights")
    assert (out / "weights").stat().st_mtime > 1e9
    assert runs.unfinished(out, "two", "weights"), "another run"

    said = [line.rpartition(": ")[2] for line in capsys.readouterr().out.splitlines()]
    assert said == ["new run", "resume run", "finished", "new run"]
    assert (out.parent / "seed0.1" / "weights").exists()


def test_a_folder_in_which_another_process_works_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "claim", lambda run: "process 5 on ship")

    with pytest.raises(InputError) as caught:
        runs.unfinished(tmp_path / "seed0", "one")

    assert str(caught.value) == (
        f"{tmp_path / 'seed0'}: another run is at work there (process 5 on ship)"
    )
    assert not (tmp_path / "seed0").exists()


def test_what_a_killed_write_has_left_goes_when_the_run_is_taken_up(tmp_path: Path) -> None:
    run = tmp_path / "seed0"
    assert runs.unfinished(run, "same")
    for name in (".state-000000012.pt.x7k2_abc.tmp", ".history.json.00000000.tmp"):
        (run / name).write_bytes(b"half a file")
    (run / "history.json").write_bytes(b"[]")

    assert runs.unfinished(run, "same")

    assert sorted(path.name for path in run.iterdir()) == ["history.json", "identity"]
