"""Records: what goes in comes out, what is wrong is refused by name, no write is half done."""

from __future__ import annotations

import errno
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core import files, record
from core.record import Record
from core.runs import begin, claim, newest, read_attempts, run_folder

ROOT = Path(__file__).resolve().parents[2]

Make = Callable[..., Record]


def altered(original: Record, *path: str, to: Any) -> str:
    """A record's JSON with one field changed, or taken out where `to` is Ellipsis."""
    document = json.loads(original.model_dump_json())
    *parents, last = path
    holder = document
    for parent in parents:
        holder = holder[parent]
    if to is ...:
        del holder[last]
    else:
        holder[last] = to
    return json.dumps(document)


def test_what_is_written_is_read(make: Make, tmp_path: Path) -> None:
    original = make(values={"top1": 56.34, "top5": 86.87})
    path = tmp_path / "demo" / "pretrain" / "best" / "seed0" / "record.json"
    record.write(original, path)
    assert record.read(path) == original
    assert path.read_bytes().endswith(b"}\n")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metrics", "top1", "value"), float("nan")),
        (("metrics", "top1", "value"), float("inf")),
        (("metrics", "top1", "samples"), 0),
        (("metrics", "top1", "split"), ...),
        (("metrics", "top1", "value"), None),
        (("cost", "flops"), -1),
        (("schema_version",), 3),
        (("choices",), ...),
        (("choices", "detektor"), "fpn"),
        (("stage",), "pretraining"),
        (("dataset", "fingerprint"), "not a hash"),
        (("backbone",), ...),
        (("started",), "2025-01-01T12:00:00"),
        (("surprise",), 1),
    ],
)
def test_a_wrong_record_is_refused_naming_file_and_field(
    make: Make, tmp_path: Path, path: tuple[str, ...], value: Any
) -> None:
    file = tmp_path / "record.json"
    file.write_text(altered(make(), *path, to=value))
    with pytest.raises(record.RecordError) as refused:
        record.read(file)
    assert str(refused.value).startswith(f"{file}: {'.'.join(path)}: ")


@pytest.mark.parametrize(
    ("unit", "value", "told"),
    [
        ("%", 100.1, "100.1 is not within 0 to 100, unit '%'"),
        ("%", -0.1, "-0.1 is not within 0 to 100, unit '%'"),
        ("1", 1.5, "1.5 is not within 0 to 1, unit '1'"),
    ],
)
def test_a_metric_out_of_its_units_range_is_refused(
    make: Make, tmp_path: Path, unit: str, value: float, told: str
) -> None:
    metric = {"value": value, "unit": unit, "split": "val", "samples": 10}
    file = tmp_path / "record.json"
    file.write_text(altered(make(), "metrics", "top1", to=metric))
    with pytest.raises(record.RecordError) as refused:
        record.read(file)
    assert str(refused.value).startswith(f"{file}: metrics.top1: ")
    assert told in str(refused.value)


@pytest.mark.parametrize("unit", ["%", "1"])
def test_the_ends_of_a_units_range_are_in_it(make: Make, unit: str) -> None:
    for value in (0.0, 100.0 if unit == "%" else 1.0):
        assert make(values={"top1": value}, unit=unit).metrics["top1"].value == value


def test_another_version_is_told_before_anything_else(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    document = json.loads(make().model_dump_json()) | {"a": 1, "schema_version": 7, "seed": "x"}
    file.write_text(json.dumps(document))
    with pytest.raises(record.RecordError) as refused:
        record.read(file)
    assert str(refused.value) == (
        f"{file}: schema_version: 7 is unknown here; expected 1 or 2 (and 2 more)"
    )


def test_a_record_without_what_came_later_is_read(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    document = json.loads(make().model_dump_json())
    for key in ("parameters", "flops"):
        del document["cost"][key]
    file.write_text(json.dumps(document))
    assert record.read(file).cost.flops is None


@pytest.mark.parametrize("content", [b"", b'{"stage": "pre', b"\xff\xfe", b"[]", b"null"])
def test_what_is_no_record_at_all_is_refused_naming_the_file(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "record.json"
    file.write_bytes(content)
    with pytest.raises(record.RecordError) as refused:
        record.read(file)
    assert str(refused.value).startswith(f"{file}: ")


def test_a_record_that_is_not_there_is_refused_naming_the_file(tmp_path: Path) -> None:
    with pytest.raises(record.RecordError, match=r"absent.json: cannot be read \(No such file"):
        record.read(tmp_path / "absent.json")


def test_a_metric_that_is_not_a_number_never_becomes_a_record(make: Make) -> None:
    with pytest.raises(ValidationError, match="finite"):
        make(values={"top1": float("nan")})


def newest_of_demo(runs: Path) -> tuple[list[Record], list[str]]:
    attempts, complaints = read_attempts(runs, "demo")
    return list(newest(attempts).values()), complaints


def test_one_protocol_is_read_and_the_rest_complained_of(make: Make, tmp_path: Path) -> None:
    good = make()
    runs = tmp_path / "demo" / "pretrain" / "best"
    record.write(good, runs / "seed0" / "record.json")
    record.write(good, runs / "seed0.before" / "record.json")  # an attempt set aside: no complaint
    record.write(make(protocol="paper"), runs / "seed1" / "record.json")
    record.write(
        make(protocol="mini"), tmp_path / "mini" / "pretrain" / "best" / "seed0" / "r.json"
    )
    broken = runs / "seed2" / "record.json"
    broken.parent.mkdir()
    broken.write_text(altered(good, "seed", to=...))

    records, complaints = newest_of_demo(tmp_path)

    assert records == [good]
    assert len(complaints) == 2
    assert complaints[0].startswith(f"{runs / 'seed1' / 'record.json'}: protocol: 'paper'")
    assert complaints[1].startswith(f"{broken}: seed: ")


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_a_failed_write_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "record.json"
    files.write_atomically(path, b"old")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    files.write_atomically(path, b"old")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def at_once(number: int, work: Callable[[int], None]) -> list[int]:
    """Runs `work(k)` in so many forked processes that start together; returns their exit codes.

    Forked, not spawned: fresh interpreters would take longer than all other tests.
    """
    waiting, starting = os.pipe()
    children = []
    for k in range(number):
        if (child := os.fork()) == 0:
            try:
                os.close(starting)
                os.read(waiting, 1)  # until the parent has closed the other end
                work(k)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    os.close(starting)
    os.close(waiting)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def test_200_writers_of_one_run_lose_no_record(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "demo" / "pretrain" / "best" / "seed0" / "record.json"
    finish = datetime(2025, 1, 1, tzinfo=UTC)
    records = [make(finished=finish + timedelta(seconds=k)) for k in range(200)]
    assert at_once(200, lambda k: record.write(records[k], path)) == [0] * 200

    attempts, complaints = read_attempts(tmp_path, "demo")
    assert complaints == []
    assert sorted(it.finished for it in attempts.values()) == [it.finished for it in records]
    assert newest_of_demo(tmp_path) == ([records[-1]], [])
    assert {it.name for it in path.parent.parent.rglob("*") if it.is_file()} == {"record.json"}


def test_200_writers_of_as_many_runs_lose_no_record(make: Make, tmp_path: Path) -> None:
    records = [make(seed=k, config={"padding": "x" * 50_000}) for k in range(200)]

    def work(k: int) -> None:
        record.write(records[k], run_folder(tmp_path, "demo", "detect", "best", k) / "record.json")

    assert at_once(200, work) == [0] * 200
    read, complaints = newest_of_demo(tmp_path)
    assert complaints == []
    assert sorted(it.seed for it in read) == list(range(200))


def test_the_same_run_again_is_a_new_attempt(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "demo" / "pretrain" / "best" / "seed0" / "record.json"
    first, second = (make(finished=datetime(2025, 1, day, tzinfo=UTC)) for day in (1, 2))
    record.write(first, path)
    record.write(second, path)
    aside = path.parent.with_name("seed0.1") / "record.json"
    assert read_attempts(tmp_path, "demo")[0] == {path: second, aside: first}
    assert newest({path: second, aside: first}) == {path: second}
    assert newest({path: first, aside: second}) == {aside: second}  # by time, not by name


def test_an_unfinished_attempt_does_not_hide_a_finished_one(make: Make, tmp_path: Path) -> None:
    run = tmp_path / "demo" / "pretrain" / "best" / "seed0"
    begin(run, "1" * 64)
    record.write(make(), run / "record.json")
    assert begin(run, "2" * 64) == "new"
    assert newest_of_demo(tmp_path) == ([make()], [])


def test_without_hard_links_records_are_kept_too(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "demo" / "pretrain" / "best" / "seed0" / "record.json"
    for day in (1, 2, 3):
        record.write(make(finished=datetime(2025, 1, day, tzinfo=UTC)), path)
    attempts, _ = read_attempts(tmp_path, "demo")
    assert sorted(it.finished.day for it in attempts.values()) == [1, 2, 3]
    assert attempts[path].finished.day == 3


def test_an_infinite_setting_is_not_lost(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    record.write(make(config={"ranges": [0, float("inf")]}), path)
    assert record.read(path).config == {"ranges": [0, "Infinity"]}


def test_what_is_written_is_on_the_disk_and_so_is_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content before it gets its name, the folder after."""
    calls = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(file: int) -> None:
        calls.append(("fsync", os.readlink(f"/proc/self/fd/{file}"), os.fstat(file).st_size))
        fsync(file)

    def note_replace(*paths: Any) -> None:
        calls.append(("replace", *map(str, paths)))
        replace(*paths)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    path = tmp_path / "record.json"

    files.write_atomically(path, b"content")

    (first, temporary, size), (second, *names), (third, folder, _) = calls
    assert (first, second, third) == ("fsync", "replace", "fsync")
    assert size == 7
    assert names == [temporary, str(path)]
    assert folder == str(tmp_path)


# --- one process at a time


def test_a_process_may_claim_its_own_folder_again(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "seed0"

    assert claim(run) is None
    assert claim(run) is None
    assert not run.exists(), "the lock lies beside it"
    assert [path.name for path in run.parent.iterdir()] == [".seed0.lock"]


CLAIM = """
import os, signal, sys, time
from multiprocessing import Process
from pathlib import Path
from core import runs
print(runs.claim(Path(sys.argv[1])), flush=True)
child = Process(target=time.sleep, args=(60,), daemon=True)
child.start()
print(child.pid, flush=True)
sys.stdin.read()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_folder_is_free_again_when_its_process_is_killed(tmp_path: Path) -> None:
    """Though a process that it had started lives on, with the lock's file open."""
    run = tmp_path / "seed0"
    first = subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(run)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert first.stdout.readline() == "None\n"
    child = int(first.stdout.readline())

    holder = claim(run)
    assert holder == f"process {first.pid} on {platform.node()}"

    first.stdin.close()
    assert first.wait(timeout=60) == -signal.SIGKILL
    first.stdout.close()
    assert Path(f"/proc/{child}").exists()
    try:
        assert claim(run) is None
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("name", ["../weights.npz", "/etc/passwd", "a/b", "..", "."])
def test_an_output_outside_the_run_directory_is_refused(
    name: str, make: Make, tmp_path: Path
) -> None:
    file = tmp_path / "record.json"
    file.write_text(altered(make(), "outputs", to={name: "a" * 64}))
    with pytest.raises(record.RecordError, match="outputs"):
        record.read(file)


def test_every_flipped_bit_of_a_record_is_found(make: Make, tmp_path: Path) -> None:
    """Or changes white space alone, or nothing that a record says."""
    path = tmp_path / "record.json"
    record.write(make(), path)
    whole, good = path.read_bytes(), record.read(path)
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert record.read(path) == good
        except record.RecordError:
            refused += 1
    assert refused > len(whole.split()) / 2
