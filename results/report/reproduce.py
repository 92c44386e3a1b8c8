"""The command that makes a record again, from what the record says of its run."""

from __future__ import annotations

import shlex
from pathlib import Path

from core import choices
from core.record import Record
from core.tasks import TASKS

RECIPES = {
    it.stem for it in (Path(__file__).resolve().parents[2] / "configs/pretrain").glob("*.py")
}


def command_of(run: Record) -> str | None:
    """As it would be typed; None where it cannot be told: a record of schema 1 with settings.

    Folders and workers are left out: they do not decide the result. The number of devices does (a
    device's batch norm sees its own part of a batch, and draws are by rank), so that several are
    started as there. Of a teacher the record has the hash of its weights alone: the command takes
    the protocol's own teacher, whichever the run distilled from.
    """
    task = TASKS[run.stage]
    if run.schema_version == 1 and run.choices.cfg_options:
        return None  # it has them as a file name
    if task.makes_backbone and run.choices.variant not in RECIPES:
        return None
    several = ["--nproc-per-node", str(run.cost.devices), "--no-python"]
    launch = ["torchrun", "--standalone", *several] if run.cost.devices > 1 else []
    common = ["--protocol", run.protocol, "--seed", str(run.seed)]
    return shlex.join([*launch, "trickbench", *choices.command(task, run.choices), *common])
