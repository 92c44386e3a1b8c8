"""Markdown, CSV and LaTeX of one table: the same values, with special characters escaped."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from core.record import Record
from results.papers import published
from results.papers.tables import TABLES
from results.tables.fill import Table, build, ranked
from results.tables.index import Index
from results.tables.render import FORMATS, to_csv, to_latex, to_markdown

Make = Callable[..., Record]

DECLARED = {spec.name: spec for spec in TABLES}
HOSTILE = r"a&b_c%$#{}~^\<script>|±"


@pytest.fixture
def table(make: Make) -> Table:
    """Table 8 with a mean over seeds and a backbone whose name needs escaping."""
    runs = [
        make(stage="detect", mirrors="voc", values={"map": value}, seed=seed)
        for seed, value in enumerate([80.0, 82.0])
    ]
    runs.append(make(stage="detect", mirrors="voc", recipe=HOSTILE, values={"map": 70.0}))
    return build(DECLARED["bag-of-tricks/8"], runs, published.load())


def unescaped(latex: str) -> list[str]:
    """The cells of a line of a LaTeX tabular."""
    body = latex.strip().removesuffix(r"\\").removeprefix("{}")
    return [cell.strip() for cell in re.split(r"(?<!\\)&", body)]


def test_latex_has_the_cells_and_escapes_them(table: Table) -> None:
    text = to_latex(table)
    lines = text.splitlines()
    begin = lines.index(next(it for it in lines if r"\begin{tabular}" in it))
    assert lines[begin].strip() == r"\begin{tabular}{lrrrrrr}"
    assert lines[begin + 1].strip() == r"\toprule"
    assert lines[begin + 3].strip() == r"\midrule"
    end = lines.index(r"  \bottomrule")
    body = [unescaped(line) for line in lines[begin + 4 : end]]
    assert len(body) == 8
    assert {len(line) for line in body} == {7}
    assert body[6][4:] == [r"81.00 $\pm$ 1.41 (n=2)", "81.33", "-0.33"]
    assert body[7][0] == (
        r"a\&b\_c\%\$\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}"
        r"\textless{}script\textgreater{}\textbar{}$\pm$"
    )
    assert body[7][1] == "--"
    for environment in ("table", "tabular"):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}") == 1
    outside_maths = re.sub(r"\\.", "", text.replace(r"$\pm$", ""))
    assert outside_maths.count("{") == outside_maths.count("}")
    assert not re.search(r"[#$_^~]", outside_maths)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_compiles(table: Table, tmp_path: Path) -> None:
    document = (
        r"\documentclass{article}\usepackage{booktabs}\usepackage[T1]{fontenc}\begin{document}"
        + to_latex(table)
        + r"\end{document}"
    )
    (tmp_path / "t.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)


def test_csv_has_the_seeds(table: Table) -> None:
    rows = {row["base model"]: row for row in csv.DictReader(to_csv(table).splitlines())}
    best = rows["+ distill w/ mixup"]
    assert [best[f"map{key}"] for key in ("", " std", " n", " published", " difference")] == [
        *("81.00", "1.41", "2", "81.33", "-0.33")
    ]
    assert (rows[HOSTILE]["map std"], rows[HOSTILE]["map n"]) == ("-", "1")
    assert rows["B-standard"]["map n"] == "0"


def test_the_best_is_bold_everywhere_and_first(table: Table) -> None:
    sorted_table = ranked(table, 1)
    assert sorted_table.rows[0].heading == "+ distill w/ mixup"
    assert sorted_table.rows[1].heading == HOSTILE
    assert sorted_table.best == {(0, 1)}
    assert "**81.00 ± 1.41 (n=2)**" in to_markdown(sorted_table)
    assert r"\textbf{81.00 $\pm$ 1.41 (n=2)}" in to_latex(sorted_table)
    assert "**70.00**" not in to_markdown(sorted_table)


def test_every_table_has_every_format(make: Make) -> None:
    index = Index([make(recipe="a1"), make(recipe="best")])
    for spec in TABLES:
        built = build(spec, index, published.load())
        for text in (write(built) for write in FORMATS.values()):
            assert text.endswith("\n")


def test_settings_are_printed_as_the_paper_has_them(make: Make) -> None:
    text = to_markdown(build(DECLARED["strikes-back/6"], [make(recipe="a2")], published.load()))
    line = next(it for it in text.splitlines() if it.startswith("| 9 "))
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells == ["9", "BCE", "0.003", "0.02", "no", "-", "78.74", "-"]


def test_a_table_of_costs_does_not_say_percent(make: Make) -> None:
    costs = to_markdown(build(DECLARED["costs"], [make()], published.load()))
    assert "in %" not in costs
    mixed = to_markdown(build(DECLARED["bag-of-tricks/5"], [make()], published.load()))
    assert "Accuracies in %." in mixed
