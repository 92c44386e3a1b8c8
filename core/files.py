"""Files written whole or not at all, and their hashes."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from pathlib import Path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


TEMPORARY = ".tmp"


def file_name(*words: str) -> str:
    """Words as the name of a file or folder, in the spelling that the Makefile has too."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", " ".join(words))


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, meets the old content or the new, never a part.

    Raises:
        OSError: the disk is full or the folder cannot be written; `path` is then untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Names in a folder outlive a crash of the machine from here on."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_beside(path: Path, content: bytes) -> None:
    """Write a file atomically, and set another one of its name aside.

    What was at `seed0/record.json` is then at `seed0.1/record.json`, or the next number that is
    free. However many processes do this at once, each file is kept whole.

    Raises:
        OSError: the disk is full or the folder cannot be written; what was there is still there.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}{TEMPORARY}")
    try:
        write_atomically(new, content)
        while True:
            try:
                _place(new, path)
                break
            except FileExistsError:
                _set_aside(path)
        _sync(path.parent)
    finally:
        new.unlink(missing_ok=True)


def _place(new: Path, path: Path) -> None:
    """Gives a file its name.

    Raises:
        FileExistsError: another has it; a rename would have replaced that one.
    """
    try:
        os.link(new, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        # a file system without hard links: two writers in one instant would not see each other
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        os.replace(new, path)


def _set_aside(path: Path) -> None:
    """Moves a record into a folder of its own beside its run's, unless another process has."""
    run = path.parent
    attempt = 1
    while True:
        try:
            aside = run.with_name(f"{run.name}.{attempt}")
            aside.mkdir()
            break
        except FileExistsError:
            attempt += 1
    try:
        path.rename(aside / path.name)
    except FileNotFoundError:
        aside.rmdir()
