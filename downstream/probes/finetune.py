"""Fine-tuning: the pretraining loop started from a checkpoint, choosing learning rate and epochs.

It trains all weights, or only the classifier (stage "linear-sgd").
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from core import configs
from core.errors import Diverged, InputError
from core.metrics import classification
from core.runtime import distributed
from downstream import task as tasks
from downstream.backbones import timm_features
from downstream.task import DownstreamRun
from pretrain import recipe
from pretrain.images import datasets, splits
from pretrain.images.datasets import ImageSet
from pretrain.recipe import Recipe
from pretrain.training import loop

AXES = ("epochs", "lr")  # of the grid; of equally good candidates the first in this order wins
OWN = ("grid", "held_out", "train_size")  # keys of configs/probe that are not a recipe's


@dataclass(frozen=True)
class Plan:
    """The candidate recipes, in order, and the data to compare them on.

    Attributes:
        held_out: share of the training set that candidates are compared on.
        train_size: size of a few-shot training set, or None.
        resident: whether the images stay on the device (from the protocol); the result is the same.
    """

    candidates: tuple[Recipe, ...]
    held_out: float
    train_size: int | None
    resident: bool = False

    def described(self) -> dict[str, Any]:
        """The settings for the record, without those that are chosen: seeds may choose others."""
        axes = {axis: sorted({getattr(c, axis) for c in self.candidates}) for axis in AXES}
        own = {"grid": axes, "held_out": self.held_out, "train_size": self.train_size}
        first = recipe.as_dict(self.candidates[0])
        if len(self.candidates) > 1:
            first = {key: value for key, value in first.items() if key not in AXES}
        return first | own


def plan(run: DownstreamRun, about: timm_features.Exchange) -> Plan:
    """The candidates for a backbone under the run's protocol, with the user's options.

    Raises:
        InputError: an unknown option, or a value that its setting does not accept.
    """
    config = configs.read("probe", run.task.name)
    section = run.task.name.replace("-", "_")
    own = {key: config.pop(key) for key in OWN}
    protocol = configs.read_protocol(run.protocol)
    size = protocol.get(section, {})
    grid = own["grid"] | size.get("grid", {})
    wanted = configs.parse_options(run.options)
    own |= {key: wanted.pop(key) for key in OWN[1:] if key in wanted}
    if not isinstance(own["held_out"], float) or not 0 < own["held_out"] < 1:
        raise InputError(f"held_out={own['held_out']!r}: expected a share between 0 and 1")
    found = recipe.from_config(config, run.task.name)
    candidates = []
    for values in product(*(sorted(grid[axis]) for axis in AXES)):
        sized = recipe.under_protocol(
            replace(found, **dict(zip(AXES, values, strict=True))), protocol, section
        )
        fitted = replace(
            sized,
            arch=about.architecture,
            dataset=run.dataset,
            mean=about.mean,
            std=about.std,
            interpolation=about.interpolation,
        )
        candidates.append(recipe.override(fitted, wanted))
    resident = size.get("resident", False)
    return Plan(tuple(dict.fromkeys(candidates)), own["held_out"], own["train_size"], resident)


def run(run: DownstreamRun) -> None:
    """Chooses on held-out training data, trains on all, and tests the last epoch once.

    Raises:
        InputError: data, backbone or options do not fit.
    """
    loaded = timm_features.load(run.exchange)
    planned = plan(run, loaded.about)
    whole, test_set = (datasets.load(run.dataset, run.data, role) for role in ("train", "test"))
    limit = planned.candidates[0].limit
    train_set = splits.training_subset(whole, limit, planned.train_size, run.seed)
    fingerprint = datasets.fingerprint(train_set, test_set)
    settings = planned.described()
    with distributed.process_group() as device:
        if not run.unfinished([settings, loaded.sha256, fingerprint]):
            return
        job = loop.Job(
            recipe=planned.candidates[0],
            train=train_set,
            test=test_set,
            out=run.out,
            seed=run.seed,
            device=device,
            workers=run.workers,
            initial=loaded.model.state_dict(),
            frozen=run.task.name == "linear-sgd",
            resident=planned.resident,
            track=run.track,
        )
        recipe, trials, spent = choose(job, planned)
        outcome = loop.fit(replace(job, recipe=recipe))
        wall = outcome.cost.wall_s + spent
        if distributed.rank() != 0:
            return
        cost = {"wall_s": wall, "device_hours": wall * distributed.world() / 3600}
        chosen: dict[str, Any] = {axis: getattr(recipe, axis) for axis in AXES}
        tasks.finish(
            run,
            loaded,
            timm_features.classifier_tensors(loaded.model),
            dataset=datasets.described(fingerprint, train_set, test_set),
            config=settings,
            metrics=classification.metrics(
                outcome.right, test_set.split, "central crop, last epoch"
            ),
            cost=outcome.cost.model_copy(update=cost),
            chosen=chosen | ({"held_out_top1": trials} if trials else {}),
            outputs=[classification.save(run.out, outcome.right, outcome.counted)],
        )
        shutil.rmtree(run.out / "trials", ignore_errors=True)


def choose(job: loop.Job, planned: Plan) -> tuple[Recipe, dict[str, float | None], float]:
    """The recipe with the best held-out top-1, each candidate's top-1 in percent, and the seconds.

    Each candidate has a directory of its own inside the run directory, so that an interrupted run
    resumes with its last candidate and only reads the earlier ones' results. A candidate whose loss
    was not finite has no top-1.

    Raises:
        InputError: no candidate had a finite loss.
    """
    if len(planned.candidates) == 1:
        return planned.candidates[0], {}, 0.0
    few = planned.train_size is not None
    kept, held = splits.validation_split(job.train.labels, planned.held_out, job.seed, few)
    parts: tuple[ImageSet, ImageSet] = (job.train.subset(kept), job.train.subset(held))
    scores: dict[str, float | None] = {}
    spent = 0.0
    for candidate in planned.candidates:
        name = trial_name(candidate)
        out = job.out / "trials" / name / job.out.name
        began = time.perf_counter()
        try:
            trial = replace(job, recipe=candidate, train=parts[0], test=parts[1], out=out, track=())
            outcome = loop.fit(trial)
            scores[name], spent = outcome.top1, spent + outcome.cost.wall_s
        except Diverged:
            scores[name], spent = None, spent + time.perf_counter() - began
    best = max((score for score in scores.values() if score is not None), default=None)
    if best is None:
        raise InputError(f"no trial had a finite loss ({', '.join(scores)}): lower lr")
    chosen = next(c for c in planned.candidates if scores[trial_name(c)] == best)
    return chosen, scores, spent


def trial_name(candidate: Recipe) -> str:
    """The name of a candidate's directory: "epochs5-lr0.01"."""
    return "-".join(f"{axis}{getattr(candidate, axis):g}" for axis in AXES)
