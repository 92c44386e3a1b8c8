"""`python -m downstream detect --variant best`: parse, build, run, record."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from downstream import backbone, prepare
from pretrain import command, recipe
from pretrain.errors import exit_status
from results import record

STAGES = {
    "detect": "Faster R-CNN on data in VOC's layout",
    "segment": "dilated FCN on ADE20K's or CamVid's layout",
    "probe": "linear probe on frozen features, or full fine-tuning",
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="trickbench", description="Puts a backbone to work on a downstream task."
    )
    stages = parser.add_subparsers(dest="stage", required=True)
    for stage, about in STAGES.items():
        sub = stages.add_parser(
            stage,
            help=about,
            description=about,
            parents=[command.arguments("", about)],
            add_help=False,
        )
        sub.add_argument("--variant", help="a recipe of ours, for example best")
        sub.add_argument("--backbone", help=backbone.KINDS)
        if stage == "detect":
            sub.add_argument("--detector", help="c4, the paper's (default), or fpn")
        if stage == "probe":
            sub.add_argument("--mode", default="linear", choices=("linear", "finetune"))
    about = "unpacks a protocol's archives, builds what is built from them, checks every set"
    sub = stages.add_parser("data", help=about, description=about)
    sub.add_argument("--protocol", required=True)
    sub.add_argument("--data", type=Path, default=Path("data"), help="folder of all data sets")
    sub.add_argument("--archives", type=Path, help="folder of the archives")
    args = parser.parse_args(argv)
    if args.stage == "data":
        return exit_status(lambda: prepare.run(args.protocol, args.data, args.archives))
    return exit_status(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    from downstream.engine import Task

    label = backbone.label(args.variant, args.backbone)
    protocol = recipe.read_protocol(args.protocol)
    name = task_name(args)
    role = args.dataset or protocol.stages.get(args.stage)
    if role is None:
        raise recipe.InputError(
            f"name the data set to probe on (DATASET=): {', '.join(sorted(protocol.datasets))}"
        )
    dataset = recipe.dataset_name(protocol, role)
    out = record.run_folder(args.runs, args.protocol, name, label, args.seed)
    if args.variant is not None:
        exchange = backbone.of_recipe(args.variant, args.runs, args.protocol, args.seed)
        source = f"recipe:{args.variant}"
    else:
        folder = record.run_folder(args.runs, args.protocol, "backbones", label, args.seed)
        exchange = backbone.exchange_of(args.backbone, folder, args.protocol, args.seed)
        source = args.backbone
    stage = args.mode if args.stage == "probe" else args.stage
    task = Task(stage, name, label, source, exchange, args.protocol, args.seed, out)
    if args.stage == "detect":
        from downstream import detect

        detector = args.detector or "c4"
        detect.run(task, detector, dataset, args.data, args.workers, command.options(args))
    elif args.stage == "segment":
        from downstream import segment

        segment.run(task, dataset, args.data, args.workers, command.options(args))
    elif args.mode == "linear":
        if int(os.environ.get("RANK", "0")) > 0:
            return  # the solver runs in one process
        from downstream import linear

        linear.run(task, dataset, args.data, args.workers, command.options(args))
    else:
        from downstream import finetune

        finetune.run(task, dataset, args.data, args.workers, command.options(args))


def task_name(args: argparse.Namespace) -> str:
    """The folder of a run's task: the stage, and whatever the user chose other than the default."""
    trial = None if args.limit is None else f"limit{args.limit}"
    stage = args.mode if args.stage == "probe" else args.stage
    choices = [getattr(args, "detector", None), args.dataset, trial]
    return "-".join([stage, *(choice for choice in choices if choice)])


if __name__ == "__main__":
    sys.exit(main())
