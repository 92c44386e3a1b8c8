"""`python -m pretrain best --protocol demo`: parse, build, train, record."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from core import cli, configs, files, record, runs
from core.errors import InputError, exit_status
from core.exchange import Exchange, load_exchange, save_exchange, weights_sha256
from core.metrics import classification
from core.runtime import distributed, tracking
from pretrain import recipe
from pretrain.images import datasets, loader, splits
from pretrain.model import complexity
from pretrain.training import loop, trainer

TASK = "pretrain"


def main(argv: list[str] | None = None) -> int:
    parser = cli.arguments("trickbench pretrain", "Trains a backbone by a recipe.")
    parser.add_argument("recipe", help="a file of configs/pretrain, for example best")
    parser.add_argument("--arch", help="any architecture of timm, in place of the recipe's own")
    parser.add_argument("--teacher", type=Path, help="the teacher's backbone.safetensors")
    parser.add_argument("--strict", action="store_true", help="fail first if a file is unreadable")
    parser.add_argument("--compile", action="store_true", help="run through torch.compile")
    parser.add_argument(
        "--save-every", type=int, default=1000, help="steps between resume states (default: 1000)"
    )
    args = parser.parse_args(argv)
    return exit_status(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Trains, writes the record, then the exchange file that names the record by its hash."""
    started = datetime.now(UTC)
    tracking.check(args.track)
    if args.save_every < 1:
        raise InputError(f"--save-every {args.save_every}: expected 1 or more steps")
    chosen = recipe.load(
        args.recipe,
        args.protocol,
        configs.parse_options(cli.options(args)),
        args.dataset,
        args.arch,
    )
    label = recipe.label(args.recipe, args.arch, args.cfg_options)
    trial = "" if args.limit is None else f"-limit{args.limit}"
    task = task_name(args) + trial
    out = runs.run_folder(args.runs, args.protocol, task, label, args.seed)
    teacher = teacher_path(args, chosen)
    whole = datasets.load(chosen.dataset, args.data, "train")
    train_set = splits.random_subset(whole, chosen.limit, args.seed)
    test_set = datasets.load(chosen.dataset, args.data, "test")
    settings = recipe.as_dict(chosen)
    teacher_sha256 = weights_of(teacher) if teacher else None
    fingerprint = datasets.fingerprint(train_set, test_set)
    with distributed.process_group() as device:
        identity = [args.protocol, args.seed, settings, teacher_sha256, fingerprint]
        if not runs.unfinished(out, configs.digest(identity), "backbone.safetensors"):
            return
        if args.strict:
            refuse_unreadable(out, train_set, test_set, workers=args.workers)
        outcome = loop.fit(
            loop.Job(
                recipe=chosen,
                train=train_set,
                test=test_set,
                out=out,
                seed=args.seed,
                device=device,
                workers=args.workers,
                teacher=teacher,
                save_every=args.save_every,
                compiled=args.compile,
                track=tuple(args.track),
                resident=configs.read_protocol(args.protocol).pretrain.get("resident", False),
            )
        )
        if distributed.rank() == 0:
            about = Provenance(args, label, task, settings, teacher_sha256, fingerprint, started)
            write(about, chosen, train_set, test_set, outcome, out)


@dataclass(frozen=True)
class Provenance:
    """What a record says of its run beside the numbers."""

    args: argparse.Namespace
    label: str
    task: str
    settings: dict
    teacher_sha256: str | None
    fingerprint: str
    started: datetime


def task_name(args: argparse.Namespace) -> str:
    """The folder of a whole run's task: "pretrain", with the data set where the user named one."""
    return TASK if args.dataset is None else f"{TASK}-{args.dataset}"


def teacher_path(args: argparse.Namespace, chosen: recipe.Recipe) -> Path | None:
    """The checkpoint of the teacher that the recipe distils from, if it does.

    Raises:
        InputError: it is not there yet.
    """
    if chosen.distill is None:
        return None
    task = task_name(args)
    folder = runs.run_folder(args.runs, args.protocol, task, chosen.distill, args.seed)
    path = args.teacher or folder / "backbone.safetensors"
    if not path.is_file():
        raise InputError(
            f"{args.recipe} distils from {chosen.distill}, and {path} is not there yet: "
            f"make pretrain VARIANT={chosen.distill} PROTOCOL={args.protocol} SEED={args.seed}, or "
            f"name a teacher with TEACHER="
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
    return weights_sha256(load_exchange(path)[0])


def write(
    about: Provenance,
    chosen: recipe.Recipe,
    train_set: datasets.ImageSet,
    test_set: datasets.ImageSet,
    outcome: loop.Outcome,
    out: Path,
) -> None:
    """The record and the exchange file of a finished run."""
    args = about.args
    weights = weights_sha256(outcome.tensors)
    detail = "central crop, last epoch"
    kept = classification.save(out, outcome.right, outcome.counted)
    finished = record.Record(
        stage="pretrain",
        task=about.task,
        recipe=about.label,
        protocol=args.protocol,
        seed=args.seed,
        dataset=datasets.described(about.fingerprint, train_set, test_set),
        backbone=record.Backbone(
            source=f"recipe:{about.label}",
            architecture=chosen.arch,
            pretrained=True,
            sha256=weights,
        ),
        teacher_sha256=about.teacher_sha256,
        metrics=classification.metrics(outcome.right, test_set.split, detail),
        config=about.settings,
        outputs={kept.name: files.sha256_of(kept)},
        cost=complexity.sized(
            outcome.cost, chosen.arch, len(train_set.classes), chosen.eval_resolution
        ),
        versions=record.versions(),
        git=record.git_state(Path(__file__).parent),
        started=about.started,
        finished=datetime.now(UTC),
    )
    record.write(finished, out / "record.json")
    exchange = Exchange(
        architecture=chosen.arch,
        classes=len(train_set.classes),
        mean=chosen.mean,
        std=chosen.std,
        resolution=chosen.eval_resolution,
        crop_ratio=chosen.crop_ratio,
        interpolation=chosen.interpolation,
        pretrained=True,
        recipe=about.label,
        protocol=args.protocol,
        seed=args.seed,
        dataset=train_set.name,
        record_sha256=files.sha256_of(out / "record.json"),
    )
    save_exchange(out / "backbone.safetensors", outcome.tensors, exchange)
    print(
        f"{about.label} ({chosen.arch}), {args.protocol} protocol: top-1 {outcome.top1:.2f} %, "
        f"top-5 {outcome.top5:.2f} % on {len(outcome.right)} {test_set.split} images of "
        f"{test_set.name}; wrote {out / 'backbone.safetensors'}"
    )


if __name__ == "__main__":
    sys.exit(main())
