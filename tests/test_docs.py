"""README and docs name only files, targets, variables and commands that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

import trickbench

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = "benchmarks|configs|core|demo|docs|downstream|pretrain|results|tests"
PATH = re.compile(rf"(?<![\w./-])(?:{FOLDERS})/[\w./*-]*")
LINK = re.compile(r"\]\(([^)#:]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`]+`", re.MULTILINE | re.DOTALL)
TOKEN = re.compile(r'[A-Z_]+="[^"]*"|\S+')  # OPTIONS="epochs=90 lr=0.2" is one
ARGUMENT = re.compile(r"[A-Z_]+=|[a-z][\w/.-]*$")  # the name of a variable, or a target


def commands(text: str, program: str) -> Iterator[list[str]]:
    """The words after `program`, wherever code names it, up to the first option or comment."""
    for code in CODE.findall(text):
        for line in code.strip("`").splitlines():
            tokens = TOKEN.findall(line.partition(" #")[0])
            for place, token in enumerate(tokens):
                if token == program:
                    found = map(ARGUMENT.match, tokens[place + 1 :])
                    yield [it[0] for it in takewhile(bool, found) if it]


@pytest.fixture(params=DOCUMENTS, ids=lambda path: path.name)
def document(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_every_path_exists(document: Path) -> None:
    text = document.read_text()
    named = [path.rstrip("./") for path in PATH.findall(text)]
    missing = [path for path in named if not list(ROOT.glob(path))]
    missing += [link for link in LINK.findall(text) if not (document.parent / link).exists()]
    assert not missing


def test_every_make_target_and_variable_exists(document: Path) -> None:
    rules = subprocess.run(
        ["make", "--print-data-base", "--question", f"PYTHON={sys.executable}", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    targets = set(re.findall(r"^([a-z][\w-]*):", rules, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text()
    for words in commands(document.read_text(), "make"):
        for word in words:
            known = f"$({word[:-1]})" in makefile if word.endswith("=") else word in targets
            assert known, f"make {' '.join(words)}: {word}"


def test_every_command_of_trickbench_exists(document: Path) -> None:
    for words in commands(document.read_text(), "trickbench"):
        assert not words or words[0] in trickbench.COMMANDS, words


def test_the_check_itself_finds_what_is_missing() -> None:
    text = "`make tabels FORMAT=latex` and\n```\ntrickbench rans show  # make nothing\n```\n"
    assert list(commands(text, "make")) == [["tabels", "FORMAT="]]
    assert list(commands(text, "trickbench")) == [["rans", "show"]]
    assert PATH.findall("see pretrain/mixup.py, runs/demo/x and a/core/b") == ["pretrain/mixup.py"]


def test_readme_lists_every_folder_of_code() -> None:
    _, heading, tree = (ROOT / "README.md").read_text().partition("## Where things are")
    assert heading
    code = {path.parent for top in FOLDERS.split("|") for path in (ROOT / top).rglob("*.py")}
    folders = {path.relative_to(ROOT).as_posix() for path in code if "tests" not in path.parts}
    folders -= {"configs", "configs/data/demo"}  # the lines of their folders and parents tell
    assert {folder for folder in folders if f"\n{folder}/ " not in tree} == set()
