"""`trickbench recipes`: what there is to train, what each adds, and what the papers got with it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict

from core import configs
from core.errors import exit_status
from core.text import aligned
from pretrain import recipe
from pretrain.recipe import Recipe
from pretrain.tricks.linear_scaling import linear_scaling


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="trickbench recipes", description="Lists the recipes, or compares two."
    )
    parser.add_argument("--protocol", default="paper", help="demo, mini or paper (default: paper)")
    commands = parser.add_subparsers(dest="command")
    diff = commands.add_parser("diff", help="the settings in which two recipes differ")
    diff.add_argument("recipes", nargs=2, metavar="RECIPE")
    args = parser.parse_args(argv)
    if args.command == "diff":
        return exit_status(lambda: print(differences(args.recipes, args.protocol)))
    return exit_status(lambda: print(listing(args.protocol)))


def listing(protocol: str) -> str:
    """Every recipe with what it adds to its parent, as a table.

    Raises:
        InputError: an unknown protocol.
    """
    lines = [["recipe", "published", "epochs", "batch", "lr", "architecture", "adds to its parent"]]
    for name in in_family_order():
        found = recipe.load(name, protocol, {})
        parent, figure = opening(name)
        sizes = f"{found.epochs:.3g}", str(found.batch_size), f"{peak(found):.3g}"
        lines.append([name, figure, *sizes, found.arch, addition(name, parent)])
    return aligned(lines, headed=True)


def in_family_order() -> list[str]:
    """The recipes' names, each after the one that it adds to."""
    parents = {name: opening(name)[0] for name in configs.names("pretrain")}

    def descendants(parent: str | None) -> list[str]:
        children = [name for name, of in parents.items() if of == parent]
        return [one for child in children for one in (child, *descendants(child))]

    return descendants(None)


def addition(name: str, parent: str | None) -> str:
    """What a recipe adds: `parent + key=value`; of many settings only how many they are."""
    if parent is None:
        return "-"
    found = changes(as_written(parent), as_written(name))
    if len(found) > 6:
        return f"{parent} + {len(found)} settings (trickbench recipes diff {parent} {name})"
    return f"{parent} + " + " ".join(f"{key}={new}" for key, (_, new) in found)


def peak(found: Recipe) -> float:
    """The learning rate that the warm-up ends at."""
    if not found.linear_scaling:
        return found.lr
    return linear_scaling(found.lr, found.batch_size, found.base_batch_size)


def opening(name: str) -> tuple[str | None, str]:
    """A recipe's parent, and the published top-1 in its file's opening comment, or "-"."""
    text = (configs.CONFIGS / "pretrain" / f"{name}.py").read_text(encoding="utf-8")
    parent = re.search(r'^_base_ = "(.+)\.py"$', text, re.MULTILINE)
    figure = re.search(r"^# Published: ([\d.]+)", text, re.MULTILINE)
    return parent and parent[1], figure[1] if figure else "-"


def as_written(name: str) -> Recipe:
    return recipe.from_config(configs.read("pretrain", name), name)


def changes(first: Recipe, second: Recipe) -> list[tuple[str, tuple[object, object]]]:
    """The settings in which two recipes differ, with both values, in the order of the fields."""
    one, other = asdict(first), asdict(second)
    return [(key, (one[key], other[key])) for key in one if one[key] != other[key]]


def differences(names: Sequence[str], protocol: str) -> str:
    """The settings in which the two recipes differ under a protocol, as a table.

    Raises:
        InputError: an unknown recipe or protocol.
    """
    pair = [recipe.load(name, protocol, {}) for name in names]
    lines = [[key, str(one), str(other)] for key, (one, other) in changes(*pair)]
    return aligned([["setting", *names], *lines], headed=True)


if __name__ == "__main__":
    sys.exit(main())
