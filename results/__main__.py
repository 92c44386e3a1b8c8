"""`python -m results COMMAND`: tables, statistics, figures and reports of records."""

from __future__ import annotations

import argparse
import gc
import sys

from core.record import RecordError
from results.commands import analysis, compare, options, report, runs, tables


def main(argv: list[str] | None = None) -> int:
    """Runs a command.

    Returns:
        The exit status: 0, or 1 with a message on standard error if there is nothing to show or a
        hash is wrong.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    args = _parser().parse_args(runs.default_action(words))
    # Ten thousand records are millions of objects that all stay alive: scanning them for garbage
    # takes longer than reading them.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return args.do(args)
    except RecordError as error:
        return _fail(str(error))
    except BrokenPipeError:
        return 0  # for example `| head`
    except OSError as error:
        # PIL's errors on damaged images have neither attribute
        return _fail(f"{error.filename}: {error.strerror}" if error.strerror else str(error))
    finally:
        if collecting:
            gc.enable()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trickbench", description="Tables, figures and records.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in (tables, compare, analysis, report):
        group.add(commands, options.records())
    runs.add(commands, options.runs())
    return parser


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
