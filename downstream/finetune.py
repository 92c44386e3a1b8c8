"""Full fine-tuning: the pretraining loop, started from a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from downstream import backbone, engine
from downstream.engine import Task
from pretrain import command, data, distributed, recipe, train
from results import record


def settings(
    task: Task, dataset: str, options: Sequence[str], about: backbone.Exchange
) -> recipe.Recipe:
    """The fine-tuning recipe for a backbone: its architecture and moments, the protocol's size."""
    found = recipe.from_config(recipe.read("probe", "finetune"), "finetune")
    sized = recipe.under_protocol(found, recipe.read_protocol(task.protocol), "finetune")
    fitted = replace(
        sized,
        arch=about.architecture,
        dataset=dataset,
        mean=about.mean,
        std=about.std,
        interpolation=about.interpolation,
    )
    return recipe.override(fitted, recipe.parse_options(list(options)))


def run(task: Task, dataset: str, data_root: Path, workers: int, options: Sequence[str]) -> None:
    """Fine-tunes on the training set and reports the last epoch on test.

    Raises:
        InputError: data, backbone or options do not fit.
    """
    started = datetime.now(UTC)
    loaded = backbone.load(task.exchange)
    chosen = settings(task, dataset, options, loaded.about)
    whole, test_set = (data.load(dataset, data_root, role) for role in ("train", "test"))
    train_set = data.limited(whole, chosen.limit, task.seed)
    fingerprint = data.fingerprint(train_set, test_set)
    config = recipe.as_dict(chosen)
    with distributed.process_group() as device:
        identity = recipe.digest(
            [task.name, task.protocol, task.seed, config, loaded.sha256, fingerprint]
        )
        if not command.unfinished(task.out, identity):
            return
        outcome = train.fit(
            train.Job(
                recipe=chosen,
                train=train_set,
                test=test_set,
                out=task.out,
                seed=task.seed,
                device=device,
                workers=workers,
                initial=loaded.model.state_dict(),
            )
        )
        if distributed.rank() != 0:
            return
        engine.write_record(
            task,
            data.described(fingerprint, train_set, test_set),
            loaded,
            backbone.classifier_tensors(loaded.model),
            config,
            {
                name: record.Metric(
                    value=value,
                    unit="%",
                    split=test_set.split,
                    samples=outcome.samples,
                    detail="central crop, last epoch",
                )
                for name, value in (("top1", outcome.top1), ("top5", outcome.top5))
            },
            outcome.cost,
            started,
        )
