"""`python -m downstream detect --variant best`: parse, build, run, record."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmengine.config import Config

from core import cli, configs, files, runs
from core.errors import exit_status
from core.runtime import tracking
from core.tasks import PROBES
from downstream import prepare_data
from downstream.backbones import sources
from pretrain import recipe

STAGES = {
    "evaluate": "top-1 and top-5 of a checkpoint and its classifier, at any resolutions",
    "detect": "Faster R-CNN on data in VOC's layout",
    "segment": "dilated FCN on ADE20K's or CamVid's layout",
    "probe": "linear or nearest-neighbour probe of a frozen backbone, its scores, or fine-tuning",
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
            parents=[cli.arguments("", about)],
            add_help=False,
        )
        sub.add_argument("--variant", help="a recipe of ours, for example best")
        sub.add_argument("--backbone", help=sources.KINDS)
        if stage == "detect":
            sub.add_argument("--detector", help="c4, the paper's (default), or fpn")
        if stage == "probe":
            sub.add_argument("--mode", default="linear", choices=PROBES)
            sub.add_argument("--train-size", type=int, help="few-shot: 1000 is VTAB's 800 + 200")
        if stage == "evaluate":
            sub.add_argument("--images", type=Path, help="any folder of one folder per class")
            sub.add_argument("--resolutions", type=int, nargs="+", default=[], help="in pixels")
            sub.add_argument(
                "--crop-ratios", type=float, nargs="+", default=[], help="crop over shorter side"
            )
            sub.add_argument(
                "--predictions", type=Path, help="write those for the test server to this file"
            )
    about = "unpacks and checks a protocol's data; `data list`, and `data check NAME` for one set"
    sub = stages.add_parser("data", help=about, description=about)
    sub.add_argument("what", nargs="?", choices=("list", "check"))
    sub.add_argument("name", nargs="?", help="of the set to check: a file of configs/data")
    sub.add_argument("--protocol", help="whose sets to make ready, or to list")
    sub.add_argument("--data", type=Path, default=Path("data"), help="folder of all data sets")
    sub.add_argument("--archives", type=Path, help="folder of the archives")
    sub.add_argument("--workers", type=int, default=cli.default_workers())
    about = "turns a checkpoint into the exchange file, and says what became of each tensor"
    sub = stages.add_parser("import", help=about, description=about)
    sub.add_argument("backbone", help=f"a recipe of ours, {sources.KINDS}")
    sub.add_argument("--protocol", default="paper", help="of the recipe (default: paper)")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs")
    sub.add_argument("--out", type=Path, required=True, help="folder of backbone.safetensors")
    args = parser.parse_args(argv)
    if args.stage == "import":
        return exit_status(lambda: imported(args))
    if args.stage == "data":
        return exit_status(lambda: data_sets(args))
    return exit_status(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    from downstream.task import Task

    if args.backbone and sources.is_recipe(args.backbone):  # BACKBONE=best says VARIANT=best
        args.variant, args.backbone = args.backbone, None
    label = sources.label(args.variant, args.backbone)
    protocol = configs.read_protocol(args.protocol)
    evaluating = args.stage == "evaluate"
    role = args.dataset or protocol.stages.get("pretrain" if evaluating else args.stage)
    if evaluating:
        args.dataset = evaluated(args, role)
    name = task_name(args)
    if role is None:
        raise recipe.InputError(
            f"name the data set to probe on (DATASET=): {', '.join(sorted(protocol.datasets))}"
        )
    dataset = configs.dataset_name(protocol, role)
    out = runs.run_folder(args.runs, args.protocol, name, label, args.seed)
    if args.variant is not None:
        exchange = trained(args, protocol, role if evaluating else protocol.stages.pretrain)
        source = f"recipe:{args.variant}"
    else:
        folder = runs.run_folder(args.runs, args.protocol, "backbones", label, args.seed)
        exchange = sources.exchange_of(args.backbone, folder, args.protocol, args.seed)
        source = args.backbone
    stage = args.mode if args.stage == "probe" else args.stage
    tracking.check(args.track)
    if args.track and stage not in ("detect", "segment", "finetune", "linear-sgd"):
        raise recipe.InputError(f"--track: {stage} has no curves to send")
    task = Task(
        *(stage, name, label, source, exchange, args.protocol, args.seed, out), tuple(args.track)
    )
    if args.stage == "evaluate":
        from downstream.probes import resolution_sweep

        resolution_sweep.run(task, None if args.images else dataset, args)
    elif args.stage == "detect":
        from downstream.detection import faster_rcnn

        detector = args.detector or "c4"
        faster_rcnn.run(task, detector, dataset, args.data, args.workers, cli.options(args))
    elif args.stage == "segment":
        from downstream.segmentation import fcn

        fcn.run(task, dataset, args.data, args.workers, cli.options(args))
    elif args.mode in ("finetune", "linear-sgd"):
        from downstream.probes import finetune

        finetune.run(task, dataset, args.data, args.workers, probe_options(args))
    else:
        from downstream.probes import knn, linear, transferability

        probe = {"linear": linear, "knn": knn, "transferability": transferability}[args.mode]
        probe.run(task, dataset, args.data, args.workers, probe_options(args))


def probe_options(args: argparse.Namespace) -> list[str]:
    """The settings of a probe that the user changes, `--limit` and `--train-size` among them."""
    few = [] if args.train_size is None else [f"train_size={args.train_size}"]
    return [*cli.options(args), *few]


def data_sets(args: argparse.Namespace) -> None:
    """`data`, `data list` and `data check NAME`.

    Raises:
        InputError: a set is not as its config says, or the options are not this command's.
    """
    if args.what == "list":
        prepare_data.describe_all(args.protocol)
    elif args.what == "check":
        if args.name is None:
            raise recipe.InputError("name the set to check: trickbench data check NAME")
        prepare_data.check_files(args.name, args.data, args.workers)
    elif args.protocol is None:
        raise recipe.InputError("name the protocol whose data to make ready: --protocol mini")
    else:
        prepare_data.run(args.protocol, args.data, args.archives)


def imported(args: argparse.Namespace) -> None:
    """The exchange file of a specification, and an account of its tensors.

    That of a recipe of ours is copied as it is.

    Raises:
        InputError: the specification cannot be read, or its tensors do not fit.
    """
    spec = args.backbone
    if sources.is_recipe(spec):
        spec = f"file:{sources.of_recipe(spec, args.runs, args.protocol, args.seed)}"
    if (ours := sources.exchange_file(spec)) is not None:
        path = args.out / "backbone.safetensors"
        files.write_atomically(path, ours.read_bytes())
        account = f"{ours}: an exchange file already, every tensor under its own name"
    else:
        found = sources.find(spec, args.protocol, args.seed)
        path = sources.write(found, spec, args.out, args.protocol, args.seed)
        account = sources.explain(found)
    print(f"{account}\nwrote {path}: use it with BACKBONE=file:{path}")


def trained(args: argparse.Namespace, protocol: Config, role: str) -> Path:
    """The exchange file that a recipe's run on the classes of a data set left.

    Raises:
        InputError: that run has not finished yet.
    """
    dataset = configs.dataset_name(protocol, role)
    source = configs.dataset_name(protocol, protocol.stages.pretrain)
    own = configs.config(dataset).get("labels_of", dataset) == source
    return sources.of_recipe(
        args.variant, args.runs, args.protocol, args.seed, dataset=None if own else role
    )


def evaluated(args: argparse.Namespace, role: str) -> str:
    """What an evaluation is of, as its folder names it.

    Raises:
        InputError: options that exclude each other, or that it has no use for.
    """
    if args.cfg_options:
        raise recipe.InputError("an evaluation has no further settings: its options are its own")
    if args.images is None:
        return role
    if args.dataset is not None:
        raise recipe.InputError(f"--images {args.images} or --dataset {args.dataset}, not both")
    return f"images-{args.images.resolve().name}"


def task_name(args: argparse.Namespace) -> str:
    """The folder of a run's task: the stage, and whatever the user chose other than the default.

    In this order: stage-detector-dataset-trainN-options-limitN. Options are sorted, and what suits
    no file name in them is a hyphen, as in the names of recipes' folders.
    """
    few = getattr(args, "train_size", None)
    stage = args.mode if args.stage == "probe" else args.stage
    choices = [getattr(args, "detector", None), args.dataset, few and f"train{few}"]
    name = "-".join([stage, *(choice for choice in choices if choice)])
    trial = "" if args.limit is None else f"-limit{args.limit}"
    return recipe.label(name, options=args.cfg_options) + trial


if __name__ == "__main__":
    sys.exit(main())
