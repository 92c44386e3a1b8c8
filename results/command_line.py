"""The command that makes a record again, from what the record says of its run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from results import ablations
from results.record import Record
from results.store import DETECTORS, PROBES

RECIPES = tuple(
    sorted(
        it.stem for it in (Path(__file__).resolve().parents[1] / "configs/pretrain").glob("*.py")
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
    dataset = _dataset(run, run.task.removeprefix("pretrain"))
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
    rest = run.task.removeprefix(run.stage)
    for detector in DETECTORS if run.stage == "detect" else ():
        if rest == f"-{detector}" or rest.startswith(f"-{detector}-"):
            rest = rest.removeprefix(f"-{detector}")
            named += ["--detector", detector]
    dataset = _dataset(run, rest)  # of --images, the name tells the last folder of a path
    return None if dataset is None else [*words, *named, *dataset, *_geometries(run)]


def _dataset(run: Record, rest: str) -> list[str] | None:
    """What is left of a task's name after the stage: nothing, or the data set's."""
    names = {name.replace("/", "-"): name for name in (run.dataset.mirrors, run.dataset.name)}
    if not rest:
        return []
    name = names.get(rest.removeprefix("-"))
    return None if name is None else ["--dataset", name]


def _geometries(run: Record) -> Iterable[str]:
    """An evaluation's resolutions and crop ratios: every one with every other."""
    found = run.config.get("geometries", []) if run.stage == "evaluate" else []
    if not found:
        return []
    sides = sorted({it["resolution"] for it in found})
    ratios = sorted({it["crop_ratio"] for it in found})
    return ["--resolutions", *map(str, sides), "--crop-ratios", *map(str, ratios)]
