"""The command that reproduces a record."""

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
    """The shell command; None if the record does not have all settings (schema 1 with options).

    Folders and the number of workers do not change the result and are left out. The number of
    devices does (batch norm sees one device's part of a batch, and random numbers depend on the
    rank), so the command starts the same number. A record only has the hash of the teacher's
    weights: the command uses the teacher of the protocol.
    """
    task = TASKS[run.stage]
    if run.schema_version == 1 and run.choices.cfg_options:
        return None  # schema 1 only has a file name made from them
    if task.makes_backbone and run.choices.variant not in RECIPES:
        return None
    several = ["--nproc-per-node", str(run.cost.devices), "--no-python"]
    launch = ["torchrun", "--standalone", *several] if run.cost.devices > 1 else []
    common = ["--protocol", run.protocol, "--seed", str(run.seed)]
    return shlex.join([*launch, "trickbench", *choices.command(task, run.choices), *common])
