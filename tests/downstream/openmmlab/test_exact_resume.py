"""Detection and segmentation runs that real signals interrupt, and that resume exactly."""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from core import record
from core.runtime import resume_state, rng
from downstream.__main__ import main
from downstream.openmmlab import exact_resume

ARCH = "resnet10d_narrow"
WORDS = ("detect", "instances", "segment")
SAMPLES = {"detect": 6, "instances": 6, "segment": 4}
EPOCHS = 2
BATCH = 2

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def argv(
    data_root: Path, tiny_protocol: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[str]]:
    """The arguments of a run of two short epochs that saves every second iteration."""
    size = {"train_cfg.max_epochs": EPOCHS, "total_batch_size": BATCH}
    tiny_protocol.detect.update(size | {"param_scheduler.1.milestones": [1]})
    tiny_protocol.segment.update(size | {"param_scheduler.0.end": EPOCHS, "multi_scale": (1.0,)})
    monkeypatch.setattr(exact_resume, "SAVE_EVERY", 2)

    def words(stage: str, runs: str, workers: int = 0) -> list[str]:
        where = ["--data", str(data_root), "--runs", str(tmp_path / runs)]
        return [stage, "--backbone", f"random:{ARCH}", *where, "--workers", str(workers)]

    return words


def _folder(tmp_path: Path, runs: str, stage: str) -> Path:
    return tmp_path / runs / "demo" / stage / f"random-{ARCH}" / "seed0"


def _start(words: list[str], prepare: Callable[[], Any]) -> int:
    """Starts a command in a forked process, and returns its process id."""
    sys.stdout.flush()
    if (child := os.fork()) == 0:
        status = 99
        try:
            torch.set_num_threads(1)
            prepare()
            status = main(words)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return child


def _status(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def attempt(words: list[str], prepare: Callable[[], Any] = lambda: None) -> int:
    """Runs a command in a forked process; returns its exit status, or minus the fatal signal.

    Args:
        prepare: called in that process first.
    """
    return _status(_start(words, prepare))


def attempt_in_pair(words: list[str], prepare: Callable[[], Any] = lambda: None) -> list[int]:
    """Runs a command in two processes, as torchrun starts them; returns their exit statuses.

    Args:
        prepare: called in the second process first.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def join(rank: int) -> None:
        variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
        os.environ.update(variables | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        if rank == 1:
            prepare()

    return [_status(child) for child in [_start(words, partial(join, rank)) for rank in (0, 1)]]


def before(owner: Any, name: str, act: Callable[..., None]) -> None:
    """Makes a function call `act` with its own arguments first."""
    original = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        act(*args, **kwargs)
        return original(*args, **kwargs)

    setattr(owner, name, wrapped)


def end_at(number: signal.Signals, iteration: int) -> Callable[[], None]:
    """Sends a signal when an iteration begins; its batch has been read."""

    def act(self: exact_resume.ExactResumeHook, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if runner.iter == iteration:
            os.kill(os.getpid(), number)

    return lambda: before(exact_resume.ExactResumeHook, "before_train_iter", act)


def kill_writing(iteration: int) -> Callable[[], None]:
    """SIGKILL when a state's temporary file is written, but not renamed."""

    def act(source: str, target: Path) -> None:
        if Path(target).name == f"state-{iteration:09d}.pt":
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda: before(os, "replace", act)


def end_in_test(number: signal.Signals) -> Callable[[], None]:
    def act(
        self: exact_resume.ExactResumeHook,
        runner: Runner,
        batch_idx: int,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if batch_idx == 1:
            os.kill(os.getpid(), number)

    return lambda: before(exact_resume.ExactResumeHook, "before_test_iter", act)


def kill_before_record() -> None:
    before(record, "write", lambda *args: os.kill(os.getpid(), signal.SIGKILL))


def _final(folder: Path) -> tuple[dict[str, Any], record.Record]:
    state = resume_state.read_state(
        resume_state.states(folder)[0].read_bytes(), torch.device("cpu")
    )
    return state, record.read(folder / "record.json")


def _assert_the_same(a: Path, b: Path) -> None:
    (ours, our_record), (theirs, their_record) = _final(a), _final(b)
    flat = [dict(resume_state.tensors_of(state)) for state in (ours, theirs)]
    assert flat[0].keys() == flat[1].keys()
    for name, tensor in flat[0].items():
        assert torch.equal(tensor, flat[1][name]), name
    for key in ("iter", "epoch", "param_schedulers"):
        assert ours[key] == theirs[key]
    assert ours["progress"]["samples"] == theirs["progress"]["samples"]
    assert our_record.metrics == their_record.metrics
    assert our_record.outputs == their_record.outputs, "the bytes of the output files"
    assert our_record.backbone == their_record.backbone


def _uninterrupted(stage: str, argv: Callable, tmp_path: Path) -> Path:
    """The directory of an uninterrupted run without loader processes."""
    assert attempt(argv(stage, "whole")) == 0
    return _folder(tmp_path, "whole", stage)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stage", WORDS)
def test_a_run_ended_by_signals_ends_with_the_same_bytes(
    stage: str,
    workers: int,
    argv: Callable,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    words, folder = argv(stage, "signals", workers), _folder(tmp_path, "signals", stage)
    total = EPOCHS * SAMPLES[stage] // BATCH
    for prepare, status, newest in (
        (end_at(signal.SIGKILL, 1), -signal.SIGKILL, None),
        # the current iteration is finished and saved
        (end_at(signal.SIGUSR1, 0), 75, 1),
        (end_at(signal.SIGTERM, total - 1), 75, total),
        (end_in_test(signal.SIGTERM), 75, total),
        (end_in_test(signal.SIGKILL), -signal.SIGKILL, total),
        (kill_before_record, -signal.SIGKILL, total),
    ):
        assert attempt(words, prepare) == status
        assert not (folder / "record.json").exists()
        names = [path.name for path in resume_state.states(folder)]
        assert names[:1] == ([] if newest is None else [f"state-{newest:09d}.pt"])
        assert len(names) <= 2
    said = capfd.readouterr().err
    assert f"{stage}/random-{ARCH}: stopped by SIGUSR1 after iteration 1 of {total}" in said
    assert "stopped by SIGTERM after epoch 2 of 2; the state is saved" in said
    assert attempt(words) == 0
    _assert_the_same(folder, _uninterrupted(stage, argv, tmp_path))


@pytest.mark.parametrize("stage", WORDS)
def test_a_signal_to_one_of_two_processes_stops_both(stage: str, argv: Callable, tmp_path: Path):
    words, folder = argv(stage, "pair"), _folder(tmp_path, "pair", stage)
    assert attempt_in_pair(words, end_at(signal.SIGTERM, 1)) == [75, 75]
    assert resume_state.states(folder)[0].name == "state-000000002.pt"
    assert attempt_in_pair(words) == [0, 0]

    assert attempt_in_pair(argv(stage, "whole")) == [0, 0]
    _assert_the_same(folder, _folder(tmp_path, "whole", stage))


@pytest.mark.parametrize("stage", WORDS)
def test_a_state_half_written_or_damaged_is_skipped(
    stage: str,
    argv: Callable,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    words, folder = argv(stage, "damage"), _folder(tmp_path, "damage", stage)
    total = EPOCHS * SAMPLES[stage] // BATCH
    assert attempt(words, end_in_test(signal.SIGKILL)) == -signal.SIGKILL
    first, second = resume_state.states(folder)
    assert first.name == f"state-{total:09d}.pt"
    first.unlink()
    assert attempt(words, kill_writing(total)) == -signal.SIGKILL
    assert resume_state.states(folder) == [second]
    assert list(folder.glob(".state-*")), "half a file is left"
    assert attempt(words, end_in_test(signal.SIGKILL)) == -signal.SIGKILL
    assert resume_state.states(folder) == [first, second]
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    capfd.readouterr()
    assert attempt(words) == 0
    assert f"{first}: the saved state is damaged" in capfd.readouterr().err
    assert not list(folder.glob(".state-*"))
    _assert_the_same(folder, _uninterrupted(stage, argv, tmp_path))


@pytest.mark.parametrize("stage", WORDS)
def test_no_batch_is_read_twice(stage: str, argv: Callable, tmp_path: Path):
    log = tmp_path / "indices"

    def note(self: exact_resume.SeededDataset, index: int) -> None:
        with log.open("a") as file:
            file.write(f"{index}\n")

    def watched(more: Callable[[], None] = lambda: None) -> list[int]:
        log.write_text("")
        attempt(
            argv(stage, "reads"),
            lambda: (before(exact_resume.SeededDataset, "__getitem__", note), more()),
        )
        return [int(line) for line in log.read_text().split()]

    first = watched(end_at(signal.SIGTERM, 0))
    second = watched()
    assert len(first) == BATCH
    assert Counter(first + second) == Counter(range(EPOCHS * SAMPLES[stage]))


def test_a_loss_that_is_not_finite_is_never_saved(
    argv: Callable, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    words = argv("segment", "diverged")
    assert attempt([*words, "--cfg-options", "optim_wrapper.optimizer.lr=1e30"]) == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("trickbench: the loss is not finite at iteration 2 of 4: lower ")
    assert not resume_state.states(_folder(tmp_path, "diverged", "segment"))


# ---- order and augmentation of samples


class _Set:
    metainfo: ClassVar = dict(classes=("a",))

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[int, float, float, float]:
        import random

        drawn = np.random.random()  # noqa: NPY002 - as transforms of OpenMMLab do
        return index, random.random(), drawn, torch.rand(1).item()


def _seeded(size: int, seed: int) -> exact_resume.SeededDataset:
    dataset = exact_resume.SeededDataset.__new__(exact_resume.SeededDataset)
    dataset.inner, dataset.seed = _Set(size), seed
    return dataset


def test_an_epochs_order_depends_on_seed_and_epoch():
    sampler = exact_resume.SeededSampler(_seeded(10, 0), seed=3)
    for epoch in (0, 4):
        sampler.epoch = epoch
        expected = rng.generator("order", 3, epoch).permutation(10) + 10 * epoch
        assert list(sampler) == expected.tolist()
    assert len({tuple(exact_resume.SeededSampler(_seeded(10, 0), seed)) for seed in range(5)}) == 5


@pytest.mark.parametrize(("size", "world"), [(10, 2), (11, 4), (3, 8)])
def test_processes_share_an_epoch(size: int, world: int, monkeypatch: pytest.MonkeyPatch):
    shares = []
    for rank in range(world):
        monkeypatch.setattr("core.runtime.distributed.rank", lambda rank=rank: rank)
        monkeypatch.setattr("core.runtime.distributed.world", lambda: world)
        shares.append(exact_resume.SeededSampler(_seeded(size, 0), seed=1))
    lists = [list(share) for share in shares]
    assert {len(indices) for indices in lists} == {len(shares[0])} == {-(-size // world)}
    seen = Counter(index for indices in lists for index in indices)
    assert set(seen) == set(range(size))
    assert max(seen.values()) - min(seen.values()) <= 1


@pytest.mark.parametrize("by", [None, "mmdet.AspectRatioBatchSampler"])
def test_batches_from_any_place_are_the_rest(by: str | None):
    class Shaped(_Set):
        def get_data_info(self, index: int) -> dict[str, int]:
            return dict(width=10 + index % 3, height=11)

    dataset = _seeded(17, 0)
    dataset.inner = Shaped(17)
    batches = exact_resume.ResumableBatches(exact_resume.SeededSampler(dataset, 5), 4, by=by)
    assert len(batches) == 5
    batches.go_to(2, 0)
    whole = list(batches)
    assert sorted(index for batch in whole for index in batch) == list(range(34, 51))
    if by is not None:
        wide = [{index % 17 % 3 > 0 for index in batch} for batch in whole]
        assert sum(len(kinds) == 1 for kinds in wide) >= 3
    for start in range(6):
        batches.go_to(2, start)
        assert list(batches) == whole[start:]


def test_an_augmentation_depends_on_seed_epoch_and_index():
    dataset = _seeded(5, 7)
    everything = [dataset[index] for index in range(15)]
    assert [sample[0] for sample in everything] == [0, 1, 2, 3, 4] * 3
    torch.manual_seed(1)
    assert [dataset[index] for index in reversed(range(15))] == everything[::-1]
    for column in zip(*(sample[1:] for sample in everything), strict=True):
        assert len(set(column)) == 15
    assert _seeded(5, 8)[0] != everything[0]
