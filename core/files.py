"""Files written whole or not at all, and their hashes."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


TEMPORARY = ".tmp"
LONGEST = 200  # characters of a name; file systems take 255 bytes, and names get suffixes


def file_name(*words: str) -> str:
    """Words as a name that any file system takes: runs of other characters become a hyphen.

    A name of more than `LONGEST` characters is cut, and ends in a hash of the whole.
    """
    name = re.sub(r"[^A-Za-z0-9._+-]+", "-", " ".join(words))
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 13]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, meets the old content or the new, never a part.

    Raises:
        OSError: the disk is full or the directory cannot be written; `path` is then untouched.
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


def write_npz(path: Path, **arrays: Any) -> None:
    """Writes arrays as a compressed .npz, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def _sync(folder: Path) -> None:
    """From here on, the names in a directory survive a crash of the machine."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_beside(path: Path, content: bytes) -> None:
    """Write a file atomically; if one of that name exists, its directory is renamed first.

    What was at `seed0/record.json` is then at `seed0.1/record.json`, or the next free number. Each
    file stays intact however many processes write at once.

    Raises:
        OSError: the disk is full or the directory cannot be written; what was there is still there.
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
    """Moves a file into a new directory `seed<k>.<n>`, unless another process has done so."""
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
