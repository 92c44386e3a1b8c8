"""The command that makes a record again, from what the record says of its run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from core.record import Record
from core.tasks import PROBES
from results.papers import ablations
from results.store.query import choices

RECIPES = tuple(
    sorted(
        it.stem for it in (Path(__file__).resolve().parents[2] / "configs/pretrain").glob("*.py")
    )
)


def command_of(run: Record) -> str | None:
    """As it would be typed; None where it cannot be told: settings or a folder of the user's own.

    Folders and workers are left out: they do not decide the result. The number of devices does (a
    device's batch norm sees its own part of a batch, and draws are by rank), so that several are
    started as there. Of a teacher the record has the hash of its weights alone: the command takes
    the protocol's own teacher, whichever the run distilled from.
    """
    words = _pretrain(run) if run.stage == "pretrain" else _downstream(run)
    if words is None:
        return None
    several = ["--nproc-per-node", str(run.cost.devices), "--no-python"]
    launch = ["torchrun", "--standalone", *several] if run.cost.devices > 1 else []
    common = ["--protocol", run.protocol, "--seed", str(run.seed)]
    return shlex.join([*launch, "trickbench", *words, *common])


def _pretrain(run: Record) -> list[str] | None:
    chosen = _recipe(run.recipe, run.backbone.architecture)
    dataset = _choices(run)
    return None if chosen is None or dataset is None else ["pretrain", *chosen, *dataset]


def _recipe(label: str, architecture: str) -> list[str] | None:
    """A recipe's name, with the architecture or the settings that its label has in it."""
    for it in ablations.runs():
        if it.options and label == it.label:
            return [it.recipe, "--cfg-options", *it.options]
    for name in sorted(RECIPES, key=len, reverse=True):
        if label == name:
            return [name]
        if label == f"{name}-{architecture}":
            return [name, "--arch", architecture]
    return None


def _downstream(run: Record) -> list[str] | None:
    probe = run.stage in PROBES
    words = ["probe", "--mode", run.stage] if probe else [run.stage]
    variant = run.backbone.source.removeprefix("recipe:")
    named = ["--variant" if variant != run.backbone.source else "--backbone", variant]
    chosen = _choices(run)  # of --images, the name tells the last folder of a path
    return None if chosen is None else [*words, *named, *chosen, *_geometries(run)]


def _choices(run: Record) -> list[str] | None:
    found = choices(run)
    return (
        None if found is None else [it for key, name in found.items() for it in (f"--{key}", name)]
    )


def _geometries(run: Record) -> Iterable[str]:
    """An evaluation's resolutions and crop ratios: every one with every other."""
    found = run.config.get("geometries", []) if run.stage == "evaluate" else []
    if not found:
        return []
    sides = sorted({it["resolution"] for it in found})
    ratios = sorted({it["crop_ratio"] for it in found})
    return ["--resolutions", *map(str, sides), "--crop-ratios", *map(str, ratios)]
