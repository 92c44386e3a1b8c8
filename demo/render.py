"""Render all data sets into one folder, spread over processes, reproducibly to the byte.

Bytes are those of one version of NumPy, OpenCV and Pillow; another may round or compress otherwise.
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

VERSION = "trickbench-demo-2"  # raise when the same seed renders other bytes
MANIFEST = "manifest.json"
_CHUNK = 16  # tasks per message to a process


class DataSet(Protocol):
    """What the module of each data set provides."""

    NAME: str

    def tasks(self, sizes: Sizes) -> list[Task]: ...

    def write(self, task: Task, root: Path, seed: int) -> Any: ...

    def finish(self, root: Path, sizes: Sizes, records: list[Any]) -> dict[str, int]: ...


DATA_SETS: dict[str, DataSet] = {
    module.NAME: module for module in (imagenet, voc, ade20k, places365, cifar10)
}


class ForeignFolderError(Exception):
    """The output folder holds something that this renderer did not write."""


def read_manifest(out: Path) -> dict[str, Any] | None:
    """The manifest of the rendering at `out`, or None when `out` is missing or an empty folder.

    Raises ForeignFolderError when `out` holds files but no manifest of this renderer.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        manifest = json.loads((out / MANIFEST).read_text())
        if manifest["version"].startswith(VERSION.rpartition("-")[0]):
            return manifest
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ForeignFolderError(f"{out} exists and is no rendering of this demo: not touching it")


def render(
    out: Path,
    *,
    seed: int = 0,
    sizes: Sizes | None = None,
    processes: int = 1,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Render every data set under `out`, unless that has been done; returns the manifest.

    Renders into a folder beside `out` and renames it at the end, so that `out` is either complete
    or as it was.  An older rendering at `out` (another version, seed or sizes) is replaced.

    Raises ForeignFolderError when `out` holds anything else, be it beside an older rendering.
    """
    sizes = sizes or Sizes()
    present = read_manifest(out)
    wanted = {"version": VERSION, "seed": seed, "sizes": vars(sizes)}
    if present is not None:
        changed = [key for key, value in wanted.items() if present.get(key) != value]
        if not changed:
            report(f"{out} is up to date ({VERSION}, seed {seed})")
            return present
        strangers = {entry.name for entry in out.iterdir()} - {MANIFEST, *DATA_SETS}
        if strangers:
            found = ", ".join(sorted(strangers))
            raise ForeignFolderError(f"{out} has another {changed[0]}, but also holds {found}")
        report(f"{out} has another {' and '.join(changed)}: rendering it anew")

    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        counts = _render_all(scratch, seed, sizes, processes, report)
        manifest = {**wanted, "counts": counts, "sha256": tree_digest(scratch)}
        (scratch / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        scratch.chmod(0o755)  # mkdtemp makes it private
        _put(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return manifest


def tree_digest(root: Path) -> str:
    """SHA-256 over all files under `root` but the manifest: path, length and bytes of each."""
    digest = hashlib.sha256()
    paths = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    for path in sorted(paths):
        if path == MANIFEST:
            continue
        content = (root / path).read_bytes()
        digest.update(f"{path}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _put(scratch: Path, out: Path) -> None:
    """Move a finished rendering to `out`, in place of an empty folder or an older rendering."""
    if out.exists():
        # Moved aside, not deleted first: at no time is `out` half a rendering.
        older = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
        out.rename(older / out.name)
        scratch.rename(out)
        shutil.rmtree(older)
    else:
        scratch.rename(out)


def _render_all(
    root: Path, seed: int, sizes: Sizes, processes: int, report: Callable[[str], None]
) -> dict[str, dict[str, int]]:
    """Render into `root`; returns the image counts per set and split."""
    tasks = [task for data_set in DATA_SETS.values() for task in data_set.tasks(sizes)]
    report(f"rendering {len(tasks)} images with {processes} processes, seed {seed}")
    records: dict[str, list[Any]] = {name: [] for name in DATA_SETS}
    for task, record in zip(tasks, _results(tasks, root, seed, processes), strict=True):
        records[task.dataset].append(record)
    return {
        name: data_set.finish(root, sizes, records[name]) for name, data_set in DATA_SETS.items()
    }


def _results(tasks: list[Task], root: Path, seed: int, processes: int) -> Iterator[Any]:
    """What `write` returns for each task, in order."""
    write = partial(_write, root=root, seed=seed)
    if processes == 1:
        yield from map(write, tasks)
        return
    # Spawned, not forked: the parent may already run the threads of OpenCV or PyTorch.
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.imap(write, tasks, chunksize=_CHUNK)


def _write(task: Task, root: Path, seed: int) -> Any:
    return DATA_SETS[task.dataset].write(task, root, seed)
