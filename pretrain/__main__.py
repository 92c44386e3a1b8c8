"""`python -m pretrain best --protocol demo`: parse, build, train, record."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from core import cli, configs, exchange, files, record
from core.errors import InputError, exit_status
from core.exchange import Exchange
from core.execution import Run
from core.metrics import classification
from core.runtime import distributed, tracking
from core.studies.graph import WEIGHTS, teacher_of
from core.tasks import TASKS
from pretrain import recipe
from pretrain.images import datasets, loader, splits
from pretrain.model import complexity
from pretrain.recipe import Recipe
from pretrain.training import loop, trainer

TASK = TASKS["pretrain"]


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        "trickbench pretrain", description=TASK.about, allow_abbrev=False
    )
    parser.add_argument("variant", metavar="recipe", help="a file of configs/pretrain: best ...")
    cli.add_arguments(parser, [TASK])
    parser.add_argument("--teacher", type=Path, help="the teacher's backbone.safetensors")
    parser.add_argument("--strict", action="store_true", help="fail first if a file is unreadable")
    parser.add_argument("--compile", action="store_true", help="run through torch.compile")
    parser.add_argument(
        "--save-every", type=int, default=1000, help="steps between resume states (default: 1000)"
    )
    args = parser.parse_args(words)
    return exit_status(lambda: start(args, words))


def start(args: argparse.Namespace, argv: list[str]) -> None:
    """Trains, writes the record, then the exchange file that names the record by its hash.

    Raises:
        InputError: the recipe, the data or the options do not fit.
    """
    tracking.check(args.track)
    if args.save_every < 1:
        raise InputError(f"--save-every {args.save_every}: expected 1 or more steps")
    run = Run(
        *(TASK, cli.choices(args), args.protocol, args.seed, args.runs, args.data, args.workers),
        *(tuple(args.track), tuple(argv)),
    )
    options = configs.parse_options(run.options)
    chosen = recipe.load(args.variant, args.protocol, options, args.dataset, args.arch)
    teacher = teacher_file(run, chosen, args.teacher)
    whole = datasets.load(chosen.dataset, args.data, "train")
    train_set = splits.random_subset(whole, chosen.limit, args.seed)
    test_set = datasets.load(chosen.dataset, args.data, "test")
    settings = recipe.as_dict(chosen)
    teacher_sha256 = weights_of(teacher) if teacher else None
    fingerprint = datasets.fingerprint(train_set, test_set)
    with distributed.process_group() as device:
        if not run.unfinished([settings, teacher_sha256, fingerprint], WEIGHTS):
            return
        if args.strict:
            refuse_unreadable(run.out, train_set, test_set, workers=args.workers)
        outcome = loop.fit(
            loop.Job(
                recipe=chosen,
                train=train_set,
                test=test_set,
                out=run.out,
                seed=args.seed,
                device=device,
                workers=args.workers,
                teacher=teacher,
                save_every=args.save_every,
                compiled=args.compile,
                track=run.track,
                resident=configs.read_protocol(args.protocol).pretrain.get("resident", False),
            )
        )
        if distributed.rank() == 0:
            described = datasets.described(fingerprint, train_set, test_set)
            finish(run, chosen, described, test_set.split, outcome, teacher_sha256)


def teacher_file(run: Run, chosen: Recipe, named: Path | None) -> Path | None:
    """The checkpoint of the teacher that the recipe distils from, if it does.

    Args:
        named: by the user, in place of the pretraining's of that recipe.

    Raises:
        InputError: it is not there yet.
    """
    if chosen.distill is None or (teacher := teacher_of(run)) is None:
        return None
    path = named or teacher.out / WEIGHTS
    if not path.is_file():
        on = [f"DATASET={run.choices.dataset}"] if run.choices.dataset else []
        raise InputError(
            f"{run.choices.variant} distils from {chosen.distill}, and {path} is not there yet: "
            f"{' '.join(['make pretrain', f'VARIANT={chosen.distill}', *on])} "
            f"PROTOCOL={run.protocol} SEED={run.seed}, or name a teacher with TEACHER="
        )
    return path


def refuse_unreadable(out: Path, *sets: datasets.ImageSet, workers: int) -> None:
    """Decodes every file before the training (`--strict`).

    Raises:
        InputError: some cannot be read; they are listed in the run's folder.
    """
    problems = [one for images in sets for one in loader.find_unreadable(images, workers)]
    if problems:
        trainer.write_unreadable(out, problems)
        raise InputError(
            f"{len(problems)} of {sum(map(len, sets))} files cannot be read; first "
            f"{problems[0][0]}: {problems[0][1]}. All are in {out / trainer.UNREADABLE}"
        )


def weights_of(path: Path) -> str:
    """The hash of an exchange file's weights."""
    return exchange.weights_sha256(exchange.load_exchange(path)[0])


def finish(
    run: Run,
    chosen: Recipe,
    dataset: record.Dataset,
    split: str,
    outcome: loop.Outcome,
    teacher_sha256: str | None,
) -> None:
    """The record and the exchange file of a finished run."""
    kept = [classification.save(run.out, outcome.right, outcome.counted), *loop.written(run.out)]
    run.finish(
        dataset=dataset,
        backbone=record.Backbone(
            source=f"recipe:{run.row}",
            architecture=chosen.arch,
            pretrained=True,
            sha256=exchange.weights_sha256(outcome.tensors),
        ),
        metrics=classification.metrics(outcome.right, split, "central crop, last epoch"),
        config=recipe.as_dict(chosen),
        cost=complexity.sized(outcome.cost, chosen.arch, dataset.classes, chosen.eval_resolution),
        outputs=kept,
        teacher_sha256=teacher_sha256,
    )
    about = Exchange(
        architecture=chosen.arch,
        classes=dataset.classes,
        mean=chosen.mean,
        std=chosen.std,
        resolution=chosen.eval_resolution,
        crop_ratio=chosen.crop_ratio,
        interpolation=chosen.interpolation,
        pretrained=True,
        recipe=run.row,
        protocol=run.protocol,
        seed=run.seed,
        dataset=dataset.name,
        record_sha256=files.sha256_of(run.out / "record.json"),
    )
    exchange.save_exchange(run.out / WEIGHTS, outcome.tensors, about)
    print(f"wrote {run.out / WEIGHTS}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
