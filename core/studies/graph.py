"""Who needs whom: from the runs that are wanted to a graph with their backbones and teachers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from core import choices as naming
from core import configs, files, record
from core.choices import Choices
from core.errors import InputError
from core.execution import Run
from core.record import RecordError
from core.tasks import TASKS

WEIGHTS = "backbone.safetensors"
Graph = Mapping[Path, tuple[Run, frozenset[Path]]]  # by run directory: the run, and what it needs


def pretraining_of(run: Run) -> Run:
    """The pretraining that makes the backbone of a run, which names a recipe.

    It is on the protocol's own dataset for pretraining; that of an evaluation is on the dataset
    whose classes are evaluated, if they are others.
    """
    protocol, role = configs.read_protocol(run.protocol), run.choices.dataset
    pretrain, dataset = TASKS["pretrain"], None
    if run.task.name == "evaluate" and role is not None:
        evaluated = configs.dataset_name(protocol, role)
        classes_of = configs.config(evaluated).get("labels_of", evaluated)
        if classes_of != configs.dataset_name(protocol, pretrain.datasets[0]):
            dataset = role
    chosen = Choices(variant=run.choices.variant, arch=run.choices.arch, dataset=dataset)
    return replace(run, task=pretrain, choices=chosen, track=(), argv=())


def teacher_of(run: Run) -> Run | None:
    """The pretraining of the teacher that a pretraining distils from, on the same dataset."""
    variant = run.choices.variant
    if variant not in configs.names("pretrain"):  # the row of an earlier run: it has its weights
        return None
    own = configs.read("pretrain", variant).get("distill")
    teacher = configs.parse_options(list(run.choices.cfg_options)).get("distill", own)
    if teacher is None:
        return None
    return replace(run, choices=Choices(variant=teacher, dataset=run.choices.dataset))


def needs(run: Run) -> Run | None:
    """The run that has to finish before this one can start."""
    if run.task.makes_backbone:
        return teacher_of(run)
    return None if run.choices.variant is None else pretraining_of(run)


def product(run: Run) -> Path:
    """The file that a run writes last."""
    return run.out / (WEIGHTS if run.task.makes_backbone else "record.json")


def is_done(run: Run) -> bool:
    """Whether a run has its product, made from the backbone that is there now.

    Whether settings or data have changed since is for the run itself to say (`core.runs.begin`).
    """
    if not product(run).is_file():
        return False
    if run.task.makes_backbone or (backbone := needs(run)) is None:
        return True
    try:
        made_from = record.read(product(run)).backbone.record_sha256
        return made_from == files.sha256_of(backbone.out / "record.json")
    except (RecordError, OSError):
        return False


def graph(wanted: Iterable[Run], *, teachers: bool = True) -> Graph:
    """The wanted runs with all that they need and that is not done.

    Args:
        teachers: whether teachers are among them; not where the user names a teacher's file.
    """
    found: dict[Path, tuple[Run, frozenset[Path]]] = {}
    waiting = list(wanted)
    while waiting:
        run = waiting.pop(0)
        if run.out in found:
            if (other := found[run.out][0].choices) != run.choices:
                raise InputError(
                    f"two runs would share {run.out}: {other.given()} and {run.choices.given()}; "
                    f"run them apart, with another --runs"
                )
            continue
        needed = needs(run) if teachers or not run.task.makes_backbone else None
        if needed is None or is_done(needed):
            found[run.out] = run, frozenset()
        else:
            found[run.out] = run, frozenset({needed.out})
            waiting.append(needed)
    return found


def command(run: Run) -> list[str]:
    """The words after `trickbench` that start a run."""
    words = naming.command(run.task, run.choices)
    words += ["--protocol", run.protocol, "--seed", str(run.seed)]
    words += ["--data", str(run.data), "--runs", str(run.runs)]
    return [*words, *(["--track", *run.track] if run.track else [])]
