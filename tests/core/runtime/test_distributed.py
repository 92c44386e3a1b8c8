"""Process groups: a plain run is a group of one; two processes exchange values."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.runtime import distributed

ROOT = Path(__file__).resolve().parents[3]


def test_a_plain_run_is_a_group_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    with distributed.process_group() as device:
        assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")
        assert (distributed.rank(), distributed.world()) == (0, 1)
        assert not torch.distributed.is_initialized()
        assert distributed.from_first(lambda: "found") == "found"
        values = torch.tensor([1.0, 2.0])
        assert distributed.sum_over_processes(values).tolist() == [1, 2]
        distributed.copy_from_first([values])
        assert distributed.max_over_processes(values).tolist() == [1, 2]
        assert distributed.from_all("found") == ["found"]
    assert distributed.env_world() == 1


def test_the_world_of_torchruns_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert distributed.env_world() == 8


def test_memory_is_in_megabytes() -> None:
    """The peak is at least what the test has just filled, and less than the machine's memory."""
    filled = torch.ones(25_000_000)  # 100 MB
    peak = distributed.peak_memory_mb(torch.device("cpu"))

    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    assert filled.numel() * 4 / 1e6 < peak < whole


def test_the_device_has_a_name() -> None:
    assert distributed.device_name(torch.device("cpu")).startswith("CPU")


SCRIPT = """
import sys
from pathlib import Path
import torch
from core.runtime import distributed
with distributed.process_group() as device:
    rank, world = distributed.rank(), distributed.world()
    calls = []
    first = distributed.from_first(lambda: calls.append(1) or f"rank {rank}")
    copied = torch.tensor([rank + 5, rank + 6])
    distributed.copy_from_first([copied, copied[:1]])
    total = distributed.sum_over_processes(torch.tensor([1.0, 10.0 * rank])).tolist()
    largest = distributed.max_over_processes(torch.tensor([5.0 - rank, 10.0 * rank])).tolist()
    gathered = distributed.from_all({"rank": rank})
assert not torch.distributed.is_initialized()
found = (world, first, len(calls), total, copied.tolist(), largest, gathered)
Path(sys.argv[1], f"rank{rank}").write_text(repr(found))
"""


def test_two_processes(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [sys.executable, *launch, str(script), str(tmp_path)],
        capture_output=True,
        check=True,
        timeout=300,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        },
    )

    found = [ast.literal_eval((tmp_path / f"rank{rank}").read_text()) for rank in (0, 1)]
    same = ([2, 10], [5, 6], [5, 10], [{"rank": 0}, {"rank": 1}])
    assert found == [(2, "rank 0", 1, *same), (2, "rank 0", 0, *same)]
