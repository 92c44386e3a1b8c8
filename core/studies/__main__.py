"""`trickbench run TASK ...` and `trickbench study plan|run NAME`: runs after what they need."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from core import cli, configs
from core.errors import InputError, RunError, exit_status, unknown
from core.execution import Run
from core.studies import graph, local, spec
from core.tasks import DETECTORS, PROBES, TASKS, about, of_command


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(sys.argv[1:] if argv is None else argv)
    return exit_status(lambda: args.do(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trickbench")
    commands = parser.add_subparsers(dest="command", required=True)
    said = "run a task, and first the pretraining of its backbone and the teachers it needs"
    tasks = commands.add_parser("run", help=said, description=said).add_subparsers(
        dest="task", required=True
    )
    for name in dict.fromkeys(task.command[0] for task in TASKS.values()):
        found = of_command(name)
        command = tasks.add_parser(name, help=about(name), allow_abbrev=False)
        cli.add_arguments(command, found)
        command.add_argument("--variant", help="a recipe of ours, for example best")
        if not found[0].makes_backbone:
            command.add_argument("--backbone", help="random:NAME, timm:NAME, file:PATH ...")
        if found[0].is_probe:
            command.add_argument("--mode", default=PROBES[0], choices=PROBES)
        if name == "evaluate":
            command.add_argument("--predictions", help="write the test server's file here")
        _add_pretraining(command)
        _add_engine(command)
        # each run finds its own number of loader processes, which depends on its devices
        command.set_defaults(do=run_task, workers=None)
    said = "run every backbone on every task, in the order that they need each other"
    study = commands.add_parser("study", help=said, description=said)
    study.add_argument("action", choices=("plan", "run"), help="print the runs, or run them")
    study.add_argument("name", help="a file of configs/study, or the path of a YAML file")
    study.add_argument("--seeds", type=cli.seed, nargs="+", help="in place of the study's own")
    study.add_argument("--data", type=Path, default=Path("data"), help="folder of all datasets")
    study.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs")
    study.add_argument("--workers", type=cli.not_negative, help="loader processes per device")
    _add_engine(study)
    study.set_defaults(do=run_study, teacher=None, compile=False, strict=False)
    return parser


def _add_pretraining(command: argparse.ArgumentParser) -> None:
    command.add_argument("--teacher", help="a teacher's file, in place of training the teacher")
    command.add_argument("--compile", action="store_true", help="pretrain through torch.compile")
    command.add_argument("--strict", action="store_true", help="fail first on unreadable images")


def _add_engine(command: argparse.ArgumentParser) -> None:
    command.add_argument("--jobs", type=cli.positive, help="runs at a time (default: cores)")
    command.add_argument(
        "--gpus", type=cli.positive, default=1, help="processes of each run, one per GPU"
    )
    command.add_argument("--dry-run", action="store_true", help="print the commands only")


def run_task(args: argparse.Namespace) -> None:
    """Runs a task after what it needs. Whether it is finished already, it decides itself."""
    task = TASKS[args.mode if args.task == "probe" else args.task]
    if task.makes_backbone and args.variant is None:
        raise InputError("name a recipe: make pretrain VARIANT=best")
    if not task.makes_backbone and (args.variant is None) == (args.backbone is None):
        raise InputError("name one backbone: VARIANT=best, or BACKBONE=random:resnet50d")
    chosen = cli.choices(args)
    if not task.makes_backbone and args.backbone and ":" not in args.backbone:
        chosen = chosen.model_copy(update={"variant": args.backbone, "backbone": None})
    run = Run(
        *(task, chosen, args.protocol, args.seed, args.runs, args.data),
        track=tuple(args.track),
    )
    check(run)
    extra = ["--predictions", args.predictions] if getattr(args, "predictions", None) else []
    _execute(graph.graph([run], teachers=args.teacher is None), args, {run.out: extra})


def check(run: Run) -> None:
    """Finds what does not fit before anything is trained for it.

    Raises:
        InputError: an unknown protocol, recipe, detector or dataset; a choice that the task does
            not take; or a probe without a dataset.
    """
    protocol, chosen = configs.read_protocol(run.protocol), run.choices
    run.check_choices()
    known = configs.names("pretrain")
    if chosen.variant is not None and chosen.variant not in known:
        trained = run if run.task.makes_backbone else graph.pretraining_of(run)
        if run.task.makes_backbone or not graph.is_done(trained):
            raise unknown("recipe", chosen.variant, known)
    if chosen.detector is not None and chosen.detector not in DETECTORS:
        raise unknown("detector", chosen.detector, DETECTORS)
    if (role := run.dataset_role()) is not None:
        configs.dataset_name(protocol, role)


def run_study(args: argparse.Namespace) -> None:
    """Plans or runs a study: what is done already is left alone."""
    study = spec.read(args.name)
    study = study if args.seeds is None else study.model_copy(update={"seeds": args.seeds})
    args.jobs = args.jobs or study.jobs
    args.dry_run = args.dry_run or args.action == "plan"
    wanted = list(spec.runs(study, args.runs, args.data))
    for run in wanted:
        check(run)
    todo = [run for run in wanted if not graph.is_done(run)]
    print(f"study {args.name}: {len(wanted)} runs wanted, {len(wanted) - len(todo)} done")
    _execute(graph.graph(todo), args, threads=study.threads)


def _execute(
    planned: graph.Graph,
    args: argparse.Namespace,
    extra: dict[Path, Sequence[str]] | None = None,
    threads: int | None = None,
) -> None:
    pretraining = [
        *(["--teacher", args.teacher] if args.teacher else []),
        *(["--compile"] if args.compile else []),
        *(["--strict"] if args.strict else []),
    ]
    workers = [] if args.workers is None else ["--workers", str(args.workers)]
    commands = {}
    for out, (run, _) in planned.items():
        words = [*graph.command(run), *workers, *(extra or {}).get(out, [])]
        words += pretraining if run.task.makes_backbone else []
        commands[out] = local.launch(words, args.gpus)
    needs = {out: needed for out, (_, needed) in planned.items()}
    if args.dry_run:
        for out in local.in_order(needs):
            print(local.shown(commands[out]))
        return
    jobs = args.jobs or (len(os.sched_getaffinity(0)) if args.gpus == 1 else 1)
    if status := local.execute(commands, needs, jobs, threads):
        raise Failed(status, f"{len(commands)} runs were planned, and not all finished: see above")


class Failed(RunError):
    """A run of the graph failed; the command ends with its exit status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


if __name__ == "__main__":
    sys.exit(main())
