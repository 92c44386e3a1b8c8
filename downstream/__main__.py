"""The commands of this stage, for example `python -m downstream detect --variant best`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from core import cli, configs, files
from core.errors import InputError, exit_status
from core.execution import Run
from core.runs import run_folder
from core.runtime import tracking
from core.studies.graph import pretraining_of
from core.tasks import PROBES, TASKS, about, of_command
from downstream import prepare_data
from downstream.backbones import sources
from downstream.task import DownstreamRun

COMMANDS = dict.fromkeys(it.command[0] for it in TASKS.values() if not it.makes_backbone)


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="trickbench", description="Evaluates a backbone on a downstream task."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in COMMANDS:
        said = about(name)
        command = commands.add_parser(name, help=said, description=said, allow_abbrev=False)
        cli.add_arguments(command, of_command(name))
        command.add_argument("--variant", help="backbone of a pretraining recipe, for example best")
        command.add_argument("--backbone", help=f"any other backbone: {sources.KINDS}")
        if name == "probe":
            command.add_argument("--mode", default=PROBES[0], choices=PROBES)
        if name == "evaluate":
            command.add_argument(
                "--predictions", type=Path, help="write a test server's predictions to this file"
            )
    _add_data(commands)
    _add_import(commands)
    args = parser.parse_args(words)
    do = {"import": import_checkpoint, "data": prepare_datasets}.get(args.command)
    return exit_status(lambda: do(args) if do else start(args, words))


def _add_data(commands: argparse._SubParsersAction) -> None:
    said = "unpack and check a protocol's data; `data list` lists, `data check NAME` decodes all"
    command = commands.add_parser("data", help=said, description=said)
    command.add_argument("what", nargs="?", choices=("list", "check"))
    command.add_argument("name", nargs="?", help="dataset to check: a config in configs/data")
    command.add_argument("--protocol", help="protocol whose datasets to prepare or list")
    command.add_argument("--data", type=Path, default=Path("data"), help="folder of all datasets")
    command.add_argument("--archives", type=Path, help="folder of the archives")
    command.add_argument("--workers", type=int, default=cli.default_workers())


def _add_import(commands: argparse._SubParsersAction) -> None:
    said = "convert a checkpoint to an exchange file, and list what happened to each tensor"
    command = commands.add_parser("import", help=said, description=said)
    command.add_argument("backbone", help=f"a pretraining recipe, {sources.KINDS}")
    command.add_argument(
        "--protocol", default="paper", help="protocol of the recipe (default: paper)"
    )
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs")
    command.add_argument("--out", type=Path, required=True, help="folder of backbone.safetensors")


def start(args: argparse.Namespace, argv: list[str]) -> None:
    """Finds the backbone and runs the task.

    Raises:
        InputError: the backbone, the data or the options do not fit.
    """
    task = TASKS[args.mode if args.command == "probe" else args.command]
    if args.backbone and ":" not in args.backbone:  # BACKBONE=best means VARIANT=best
        args.variant, args.backbone = args.backbone, None
    if (args.variant is None) == (args.backbone is None):
        raise InputError(
            f"name one backbone: a recipe (VARIANT=best), or BACKBONE= with {sources.KINDS}"
        )
    run = Run(
        *(task, cli.choices(args), args.protocol, args.seed, args.runs, args.data, args.workers),
        *(tuple(args.track), tuple(argv)),
    )
    run.check_choices()
    role, protocol = run.dataset_role(), configs.read_protocol(args.protocol)
    tracking.check(args.track)
    task.load()(
        DownstreamRun(
            **vars(run),
            source=args.backbone or f"recipe:{run.row}",
            exchange=_exchange_file(run),
            dataset="" if role is None else configs.dataset_name(protocol, role),
            predictions=getattr(args, "predictions", None),
        )
    )


def _exchange_file(run: Run) -> Path:
    """The exchange file of the run's backbone: a recipe's, or one made from a specification.

    Raises:
        InputError: the pretraining has not finished, or the specification cannot be used.
    """
    if run.choices.backbone is None:
        return sources.of_pretraining(pretraining_of(run))
    folder = run_folder(run.runs, run.protocol, "backbones", run.row, run.seed)
    return sources.exchange_of(run.choices.backbone, folder, run.protocol, run.seed)


def prepare_datasets(args: argparse.Namespace) -> None:
    """`data`, `data list` and `data check NAME`.

    Raises:
        InputError: a dataset does not match its config, or an option is missing.
    """
    if args.what == "list":
        prepare_data.describe_all(args.protocol)
    elif args.what == "check":
        if args.name is None:
            raise InputError("name the dataset to check: trickbench data check NAME")
        prepare_data.check_files(args.name, args.data, args.workers)
    elif args.protocol is None:
        raise InputError("name the protocol whose data to prepare: --protocol mini")
    else:
        prepare_data.run(args.protocol, args.data, args.archives)


def import_checkpoint(args: argparse.Namespace) -> None:
    """`import`: writes a backbone's exchange file and prints what happened to each tensor.

    An existing exchange file is copied unchanged.

    Raises:
        InputError: the specification cannot be read, or its tensors do not fit.
    """
    spec = args.backbone
    if ":" not in spec:
        chosen = cli.choices(args, variant=spec, backbone=None)
        wanted = Run(TASKS["pretrain"], chosen, args.protocol, args.seed, args.runs, Path("data"))
        spec = f"file:{sources.of_pretraining(wanted)}"
    if (ours := sources.exchange_file(spec)) is not None:
        path = args.out / "backbone.safetensors"
        files.write_atomically(path, ours.read_bytes())
        report = f"{ours}: already an exchange file, copied unchanged"
    else:
        imported = sources.import_backbone(spec, args.protocol, args.seed)
        path = sources.write(imported, spec, args.out, args.protocol, args.seed)
        report = sources.explain(imported)
    print(f"{report}\nwrote {path}: use it with BACKBONE=file:{path}")


if __name__ == "__main__":
    sys.exit(main())
