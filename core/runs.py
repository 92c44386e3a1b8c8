"""Run directories: where a run keeps its files, who may work there, and every finished attempt."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, TextIO

from core.errors import InputError
from core.files import TEMPORARY, write_atomically
from core.record import Record, RecordError, read

_ATTEMPT = re.compile(r"seed\d+(\.\d+)?")


def read_attempts(runs: Path, protocol: str) -> tuple[dict[Path, Record], list[str]]:
    """Every finished attempt at every run of a protocol, and what is wrong with unreadable ones.

    They lie at `runs/<protocol>/<task>/<recipe>/seed<k>/record.json`, and earlier attempts at
    `seed<k>.<n>/record.json`.

    Returns:
        Records by their files' paths, and complaints, each opening with a path.
    """
    records: dict[Path, Record] = {}
    complaints = []
    folder = os.path.join(runs, protocol)
    for run in sorted(_below(folder, depth=3)):
        path = Path(run, "record.json")
        if not _ATTEMPT.fullmatch(path.parent.name) or not path.is_file():
            continue
        try:
            record = read(path)
        except RecordError as error:
            complaints.append(str(error))
            continue
        if record.protocol != protocol:
            complaints.append(
                f"{path}: protocol: {record.protocol!r} in the directory of {protocol!r}"
            )
            continue
        records[path] = record
    return records, complaints


def _below(folder: str, depth: int) -> Iterator[str]:
    """The directories `depth` levels below one. pathlib's glob takes seconds for ten thousand."""
    try:
        with os.scandir(folder) as entries:
            names = [it.path for it in entries if it.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return
    if depth == 1:
        yield from names
    else:
        for name in names:
            yield from _below(name, depth - 1)


def of_attempt(path: Path) -> Path:
    """The directory of the run that a record's file, perhaps an earlier attempt's, is of."""
    return path.parent.with_name(path.parent.name.partition(".")[0])


def newest(attempts: Mapping[Path, Record]) -> dict[Path, Record]:
    """The attempt at each run that finished last, in the order of the paths."""
    latest: dict[Path, Path] = {}
    for path, record in attempts.items():
        run = of_attempt(path)
        if run not in latest or attempts[latest[run]].finished <= record.finished:
            latest[run] = path
    return {path: attempts[path] for path in sorted(latest.values())}


def run_folder(runs: Path, protocol: str, task: str, recipe: str, seed: int) -> Path:
    """Where a run keeps its record and everything else that it makes."""
    return runs / protocol / task / recipe / f"seed{seed}"


_claims: list[TextIO] = []  # open for as long as the process lives, and so are their locks


def claim(run: Path) -> str | None:
    """Locks a run directory until this process ends, however it ends.

    Returns:
        None, or which process holds the lock.
    """
    run.parent.mkdir(parents=True, exist_ok=True)
    file = run.with_name(f".{run.name}.lock").open("a+")
    try:
        # unlike flock's, this lock is not handed down to the processes of a loader
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        file.seek(0)
        return file.read() or "another process"
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}")
    file.flush()
    _claims.append(file)
    for unfinished in run.rglob(f".*{TEMPORARY}"):  # of a process that was killed while writing
        unfinished.unlink()
    return None


def begin(
    run: Path, identity: str, product: str = "record.json"
) -> Literal["new", "resume", "finished"]:
    """Opens a run directory for a run of this identity; earlier results are kept.

    Args:
        run: the run directory, `.../seed<k>`.
        identity: a hash of everything that decides the result.
        product: the file that the run writes last.

    Returns:
        "finished" if this very run has its product, "resume" if it was begun, else "new". A
        directory of another identity is renamed `seed<k>.1`, `seed<k>.2` ...

    Raises:
        InputError: the directory's identity is damaged.
    """
    mark = run / "identity"
    if run.exists():
        if identity in _identities(mark):
            if (run / product).is_file():
                return "finished"
            if any(run.glob("state-*.pt")):
                # of this very run, which was killed between its record and its product
                (run / "record.json").unlink(missing_ok=True)
            return "resume"
        if any(run.iterdir()):
            attempt = 1
            while run.with_name(f"{run.name}.{attempt}").exists():
                attempt += 1
            run.rename(run.with_name(f"{run.name}.{attempt}"))
    write_atomically(mark, f"{identity}\n{identity}\n".encode())
    return "new"


def _identities(mark: Path) -> list[str]:
    """The identity that a directory was opened for: the undamaged ones of the file's two copies.

    Raises:
        InputError: both are damaged.
    """
    if not mark.is_file():
        return []
    copies = [copy for copy in mark.read_bytes().split(b"\n") if copy]
    whole = [copy.decode() for copy in copies if re.fullmatch(rb"[0-9a-f]{64}", copy)]
    if not whole:
        raise InputError(
            f"{mark}: damaged: expected the same 64 hexadecimal digits twice. If the run is "
            f"finished, keep it by renaming its directory; else remove the directory"
        )
    return whole
