"""The console script `trickbench`: one name for the entry points of all stages."""

from __future__ import annotations

import importlib
import sys

from core.tasks import TASKS, about

TASK_MODULES = {
    task.command[0]: ("pretrain.__main__" if task.makes_backbone else "downstream.__main__")
    for task in TASKS.values()
}
COMMANDS = {
    "run": ("core.studies.__main__", "a task, after the pretraining and the teachers it needs"),
    "study": ("core.studies.__main__", "plan or run many backbones on many tasks"),
    "recipes": ("pretrain.recipes_command", "list the recipes, or compare two"),
    "recipes ablations": ("results.commands.ablations", "Strikes Back's ablations, as commands"),
    **{command: (module, about(command)) for command, module in TASK_MODULES.items()},
    "import": ("downstream.__main__", "turn a checkpoint of any style into the exchange file"),
    "data": ("downstream.__main__", "unpack, build and check a protocol's data"),
    "tables": ("results.__main__", "print and write the tables of all records"),
    "table": ("results.__main__", "one table, as Markdown, CSV or LaTeX"),
    "compare": ("results.__main__", "compare two backbones, or rank many across tasks"),
    "tricks": ("results.__main__", "what each trick added, ours beside published"),
    "transfer": ("results.__main__", "does better pretraining transfer better?"),
    "figures": ("results.__main__", "draw every figure that has records"),
    "report": ("results.__main__", "one page with the tables, figures and records"),
    "runs": ("results.__main__", "list, show, compare, export and verify records"),
    "render": ("demo.__main__", "render the demo protocol's data"),
}


def main(argv: list[str] | None = None) -> int:
    """Hands the arguments to the stage that they name; each stage has a --help of its own."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: trickbench COMMAND [OPTIONS]   (trickbench COMMAND --help for its options)\n")
        print("Which backbone, trained how, transfers best? Ours beside the papers' figures.\n")
        for name, (_, said) in COMMANDS.items():
            print(f"  {name:<18} {said}")
        print("\nmake help lists the targets that also set up the environment and the demo data")
        return 0
    words = 2 if " ".join(arguments[:2]) in COMMANDS else 1
    command, rest = " ".join(arguments[:words]), arguments[words:]
    if command not in COMMANDS:
        # a misspelt command should not wait for torch to be imported
        from difflib import get_close_matches

        near = get_close_matches(command, COMMANDS) or list(COMMANDS)
        print(f"trickbench: unknown command {command!r}: {' or '.join(near)}?", file=sys.stderr)
        return 2
    module, _ = COMMANDS[command]
    # commands that share a parser
    several = module in ("core.studies.__main__", "downstream.__main__", "results.__main__")
    return importlib.import_module(module).main([command, *rest] if several else rest)


if __name__ == "__main__":
    sys.exit(main())
