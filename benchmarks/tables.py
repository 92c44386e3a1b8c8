"""Time to make every table of a protocol from 10,000 records: `trickbench tables`.

    python benchmarks/tables.py
    python benchmarks/tables.py --records 1000 --rounds 1

The records are of all stages, of realistic sizes (a detection's config is 10 KB), with five seeds
of each run. Files are in the page cache, as when a table is made a second time. On a busy machine
the CPU time is more reliable than the wall time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import platform
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.record import SCHEMA_VERSION
from results.__main__ import main as trickbench
from results.papers import ablations
from results.papers.strikes_back import TABLE3
from results.papers.tables import TABLES
from results.tables.spec import PAPER_RECIPES

# Stage, task, dataset, metrics, and the number of settings in its config.
TASKS = (
    ("pretrain", "pretrain", "imagenet", ("top1", "top5"), 40),
    ("evaluate", "evaluate-imagenet", "imagenet", ("top1", "top1@224/0.9", "top1@224/0.95"), 10),
    ("detect", "detect", "voc", ("map",), 250),
    ("segment", "segment", "ade20k", ("miou", "pix_acc"), 120),
    ("linear", "linear-cifar10", "cifar10", ("top1",), 12),
    ("finetune", "finetune-cifar100", "cifar100", ("top1", "top5"), 40),
)
SEEDS = 5


def labels(number: int) -> list[str]:
    """The papers' recipes first, then a user's."""
    known = [*PAPER_RECIPES, *(run.label for run in ablations.runs())]
    known += [f"a3-{arch}" for arch in TABLE3.values()]
    return list(dict.fromkeys([*known, *(f"mine-{i}" for i in range(number))]))[:number]


def document(task: tuple, label: str, seed: int) -> dict[str, Any]:
    """A record as JSON."""
    stage, name, dataset, metrics, settings = task
    started = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=seed)
    return {
        "schema_version": SCHEMA_VERSION,
        "stage": stage,
        "task": name,
        "recipe": label,
        "protocol": "paper",
        "seed": seed,
        "dataset": {
            "name": dataset,
            "mirrors": dataset,
            "fingerprint": "a" * 64,
            "sizes": {"train": 1_281_167, "val": 50_000},
            "classes": 1000,
        },
        "backbone": {
            "source": f"recipe:{label}",
            "architecture": "resnet50d",
            "pretrained": True,
            "sha256": "b" * 64,
        },
        "metrics": {
            metric: {"value": 70 + seed, "unit": "%", "split": "val", "samples": 50_000}
            for metric in metrics
        },
        "config": {f"section{i % 9}.setting{i}": [i, 0.5, {"a": "bc"}] for i in range(settings)},
        "cost": {
            "wall_s": 3600.0,
            "samples_per_s": 2000.0,
            "peak_memory_mb": 20_000.0,
            "device": "GPU",
            "devices": 8,
            "precision": "fp16",
            "device_hours": 8.0,
        },
        "versions": {"python": "3.11"},
        "git": {"commit": "c" * 40, "clean": True},
        "started": started.isoformat(),
        "finished": (started + timedelta(hours=1)).isoformat(),
    }


def write(runs: Path, number: int) -> int:
    """Writes records below a folder of runs; returns their total bytes."""
    total = 0
    for label in labels(-(-number // (len(TASKS) * SEEDS))):
        for task in TASKS:
            for seed in range(SEEDS):
                if number == 0:
                    return total
                path = runs / "paper" / task[1] / label / f"seed{seed}" / "record.json"
                path.parent.mkdir(parents=True)
                total += path.write_text(json.dumps(document(task, label, seed), indent=2))
                number -= 1
    return total


def tabulate(runs: Path) -> tuple[float, float]:
    """Seconds of `trickbench tables`: wall time and CPU time."""
    began, began_processor = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        status = trickbench(["tables", "--protocol", "paper", "--runs", str(runs)])
    assert status == 0
    assert "n=5" in printed.getvalue()
    return time.perf_counter() - began, time.process_time() - began_processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        size = write(Path(folder), args.records)
        rounds = [tabulate(Path(folder)) for _ in range(args.rounds)]
    clock, processor = ([it[i] for it in rounds] for i in (0, 1))
    print(
        f"{args.records} records of {size / args.records / 1000:.1f} KB, {len(TABLES)} tables, "
        f"{platform.machine()}, Python {platform.python_version()}: "
        f"{statistics.median(clock):.2f} s (median of {args.rounds}; {min(clock):.2f} to "
        f"{max(clock):.2f}), CPU time {statistics.median(processor):.2f} s"
    )


if __name__ == "__main__":
    main()
