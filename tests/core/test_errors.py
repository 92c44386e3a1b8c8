"""Bad input: one line on standard error, exit status 2, and the nearest names."""

from __future__ import annotations

import errno

import pytest

from core.errors import InputError, Interrupted, RunError, exit_status, unknown


def test_unknown_offers_the_nearest_names() -> None:
    error = unknown("recipe", "b-efficent", ["best", "d-efficient", "b-efficient", "cosine"])

    assert isinstance(error, InputError)
    assert str(error).startswith("unknown recipe 'b-efficent': did you mean b-efficient or ")
    assert "cosine" not in str(error)


def test_unknown_lists_all_names_where_none_is_near() -> None:
    assert str(unknown("recipe", "zzz", ["b", "a"])) == "unknown recipe 'zzz': there are: a, b"


def test_success() -> None:
    assert exit_status(lambda: None) == 0


def test_bad_input_is_one_line_and_2(capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> None:
        raise InputError("no such thing")

    assert exit_status(run) == 2
    assert capsys.readouterr() == ("", "trickbench: no such thing\n")


@pytest.mark.parametrize(("kind", "status"), [(RunError, 1), (InputError, 2), (Interrupted, 75)])
def test_each_kind_has_its_status_and_one_line(
    kind: type[RunError], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> None:
        raise kind("what was seen: what to do")

    assert exit_status(run) == status
    assert capsys.readouterr() == ("", "trickbench: what was seen: what to do\n")
    assert issubclass(kind, RunError)


def test_bad_input_from_a_worker_loses_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> None:
        raise InputError(
            "Caught InputError in worker 0.\nTraceback ...\nInputError: no such thing\n"
        )

    assert exit_status(run) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("no such thing")


@pytest.mark.parametrize(
    "code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS]
)
def test_a_disk_that_takes_no_more_is_one_line_and_2(
    code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> None:
        raise OSError(code, "the reason", "the file")

    assert exit_status(run) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "the reason" in err
    assert "the file" in err


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), ValueError("a bug"), KeyError(1)])
def test_anything_else_is_a_bug_and_not_swallowed(error: Exception) -> None:
    def run() -> None:
        raise error

    with pytest.raises(type(error)):
        exit_status(run)
