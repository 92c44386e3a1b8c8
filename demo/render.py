"""Renders all datasets into one folder, with several processes and reproducible bytes.

The bytes depend on the versions of NumPy, OpenCV and Pillow.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import cv2

from demo import ade20k, cifar10, imagenet, places365, voc
from demo.sizes import Sizes
from demo.tasks import Task

MANIFEST = "manifest.json"
_CHUNK = 16  # tasks per message to a process


class DataSet(Protocol):
    """The interface of each dataset's module."""

    NAME: str
    VERSION: int  # of its bytes

    def tasks(self, sizes: Sizes) -> list[Task]: ...

    def write(self, task: Task, root: Path, seed: int) -> Any: ...

    def finish(self, root: Path, sizes: Sizes, records: list[Any]) -> dict[str, int]: ...


DATA_SETS: dict[str, DataSet] = {
    module.NAME: module for module in (imagenet, voc, ade20k, places365, cifar10)
}
VERSION = f"trickbench-demo-{'.'.join(str(it.VERSION) for it in DATA_SETS.values())}"


class ForeignFolderError(Exception):
    """The output folder holds files that this renderer did not write."""


def read_manifest(out: Path) -> dict[str, Any] | None:
    """The manifest of the rendering at `out`; None if `out` is missing or empty.

    Raises:
        ForeignFolderError: `out` holds files but no manifest of this renderer.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        manifest = json.loads((out / MANIFEST).read_text())
        if manifest["version"].startswith(VERSION.rpartition("-")[0]):
            return manifest
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ForeignFolderError(f"{out} holds other files than the demo data: choose another folder")


def render(
    out: Path,
    *,
    seed: int = 0,
    sizes: Sizes | None = None,
    processes: int = 1,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Renders every dataset below `out`, unless it is up to date; returns the manifest.

    Renders into a temporary folder and renames it at the end, so that `out` is either complete or
    unchanged. An older rendering (another version, seed or sizes) is replaced.

    Raises:
        ForeignFolderError: `out` holds other files, with or without an older rendering.
    """
    sizes = sizes or Sizes()
    present = read_manifest(out)
    wanted = {"version": VERSION, "seed": seed, "sizes": vars(sizes)}
    if present is not None:
        changed = [key for key, value in wanted.items() if present.get(key) != value]
        if not changed:
            report(f"{out} is up to date ({VERSION}, seed {seed})")
            return present
        foreign = ", ".join(sorted({p.name for p in out.iterdir()} - {MANIFEST, *DATA_SETS}))
        if foreign:
            raise ForeignFolderError(f"{out} has another {changed[0]}; first move away {foreign}")
        report(f"{out} has another {' and '.join(changed)}: rendering again")

    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        counts = _render_all(scratch, seed, sizes, processes, report)
        manifest = {**wanted, "counts": counts, "sha256": tree_digest(scratch)}
        (scratch / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        scratch.chmod(0o755)  # mkdtemp's 0o700 is private
        _replace(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return manifest


def tree_digest(root: Path) -> str:
    """SHA-256 over the path, length and bytes of all files below `root` except the manifest."""
    digest = hashlib.sha256()
    paths = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    for path in sorted(paths):
        if path == MANIFEST:
            continue
        content = (root / path).read_bytes()
        digest.update(f"{path}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _replace(scratch: Path, out: Path) -> None:
    """Moves a finished rendering to `out`, replacing an empty folder or an older rendering."""
    if out.exists():
        # renamed before it is deleted, so that `out` is never incomplete
        older = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
        out.rename(older / out.name)
        scratch.rename(out)
        shutil.rmtree(older)
    else:
        scratch.rename(out)


def _render_all(
    root: Path, seed: int, sizes: Sizes, processes: int, report: Callable[[str], None]
) -> dict[str, dict[str, int]]:
    """Renders into `root`; returns image counts by dataset and split."""
    tasks = [task for data_set in DATA_SETS.values() for task in data_set.tasks(sizes)]
    report(f"rendering {len(tasks)} images with {processes} processes, seed {seed}")
    records: dict[str, list[Any]] = {name: [] for name in DATA_SETS}
    for task, record in zip(tasks, _results(tasks, root, seed, processes), strict=True):
        records[task.dataset].append(record)
    return {
        name: data_set.finish(root, sizes, records[name]) for name, data_set in DATA_SETS.items()
    }


def _results(tasks: list[Task], root: Path, seed: int, processes: int) -> Iterator[Any]:
    """The result of `write` for each task, in order."""
    write = partial(_write, root=root, seed=seed)
    if processes == 1:
        yield from map(write, tasks)
        return
    # not forked: the parent may already run threads of OpenCV or PyTorch
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.imap(write, tasks, chunksize=_CHUNK)


def _write(task: Task, root: Path, seed: int) -> Any:
    return DATA_SETS[task.dataset].write(task, root, seed)
