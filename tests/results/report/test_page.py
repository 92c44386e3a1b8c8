"""The content and the links of the page; it loads nothing."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from core.record import Record
from results.__main__ import main
from results.papers import published
from results.papers.tables import TABLES
from results.report import coverage, page
from results.store import query
from results.tables.fill import build

Make = Callable[..., Record]
Write = Callable[..., Path]


class Elements(HTMLParser):
    """All start tags with their attributes, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def values(self, attribute: str) -> list[str]:
        return [str(it[attribute]) for _, it in self.found if attribute in it]


def test_every_id_is_unique_and_every_link_leads_somewhere(report_page: str) -> None:
    elements = Elements(report_page)
    ids = elements.values("id")
    assert len(set(ids)) == len(ids)
    links = [it for it in elements.values("href") if it != "data:,"]
    links += elements.values("xlink:href")
    assert links
    assert all(it.startswith("#") for it in links)
    assert {it[1:] for it in links} <= set(ids)
    named = " ".join(elements.values("aria-labelledby")).split()
    assert set(named) <= set(ids)


def test_it_loads_nothing(report_page: str) -> None:
    elements = Elements(report_page)
    assert elements.values("src") == []
    (policy,) = (it["content"] for tag, it in elements.found if it.get("http-equiv"))
    assert str(policy).startswith("default-src 'none'")
    assert "'unsafe-inline'" not in str(policy).split("script-src")[1]
    assert str(policy).endswith("base-uri 'none'; form-action 'none'")


def test_the_same_records_give_the_same_bytes(
    report_runs: Path, report_page: str, page_of: Callable[[Path], str]
) -> None:
    assert page_of(report_runs) == report_page


def test_markup_in_records_is_text(report_page: str) -> None:
    tags = [tag for tag, _ in Elements(report_page).found]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert not any("onmouseover" in it for _, it in Elements(report_page).found)
    figure = report_page[report_page.index('<figure id="figure-transfer"') :]
    assert "--&gt;&lt;img src=x onerror=alert(1)&gt;" in figure[: figure.index("</figure>")]
    assert "&lt;script&gt;alert(2)" in report_page
    assert "&lt;/pre&gt;&lt;script&gt;alert(4)" in report_page


def test_the_page_shows_the_protocol_and_missing_results(report_page: str) -> None:
    assert "Protocol: demo" in report_page
    assert "rendered data and are not comparable with the published ones" in report_page
    assert "2025-01-01 12:00 UTC" in report_page  # of the newest record
    assert "make segment VARIANT=best PROTOCOL=demo" in report_page
    assert "make detect VARIANT=best PROTOCOL=demo" not in report_page
    assert "seeds: no recipe was pretrained with 3 seeds" in report_page
    assert "bag-of-tricks/7" in report_page


@pytest.mark.parametrize("protocol", ["mini-cpu", "mine"])
def test_a_protocols_note_is_its_own_or_none(
    make: Make, write_record: Write, tmp_path: Path, page_of: Callable[..., str], protocol: str
) -> None:
    run = make(protocol=protocol)
    write_record(tmp_path, run)
    told = "a rehearsal of mini on two CPU cores" in page_of(tmp_path, protocol)
    assert told == (protocol == "mini-cpu")


def test_coverage_counts_seeds(make: Make) -> None:
    records = [make(recipe="best", seed=seed) for seed in range(3)]
    cells = coverage.coverage([*records, make(recipe="best", stage="segment")], "mini")
    by_place = {(it.backbone, it.task): it.seeds for row in cells for it in row}
    assert len(by_place) == 7 * len(coverage.WANTED)
    assert {place: n for place, n in by_place.items() if n} == {
        ("best", "pretrain"): 3,
        ("best", "segment"): 1,
    }
    commands = [it.command for it in coverage.missing(cells)]
    assert len(commands) == len(by_place) - 2
    assert "make probe VARIANT=mixup DATASET=cifar10 PROTOCOL=mini" in commands


def test_a_probe_that_the_protocol_has_no_data_for_is_not_missing(make: Make) -> None:
    cells = coverage.coverage([make(recipe="best")], "mini", ["imagenet", "voc", "cifar10"])
    assert [it.task for it in cells[0]] == ["pretrain", "detect", "segment", "linear-cifar10"]
    assert not [it for it in coverage.missing(cells) if "places365" in it.command]


def test_anchors_of_names_that_differ_in_signs_alone_differ() -> None:
    assert page.anchors(["a/b", "a b", "A-b", "<>"], "run") == {
        "a/b": "run-a-b",
        "a b": "run-a-b-2",
        "A-b": "run-A-b",
        "<>": "run-",
    }


@pytest.mark.parametrize("protocol", ["paper", "mini"])
def test_own_numbers_are_links_and_published_ones_are_not(
    make: Make, write_record: Write, tmp_path: Path, protocol: str
) -> None:
    runs = [make(protocol=protocol, seed=seed, values={"top1": 76.0}) for seed in range(2)]
    detect = {"stage": "detect", "mirrors": "voc", "values": {"map": 80.0}}
    runs.append(make(protocol=protocol, **detect))
    for run in runs:
        write_record(tmp_path, run)
    records, _ = query.by_file(tmp_path, protocol)
    found = page.entries(records, tmp_path)
    (table8,) = (it for it in TABLES if it.name == "bag-of-tricks/8")
    table = page.shown(build(table8, list(records.values()), published.load()), found)
    (line,) = (line for line in table.lines if line[0].text == "+ distill w/ mixup")
    assert [(cell.text, cell.href) for cell in line[1:]] == [
        ("76.00 ± 0.00 (n=2)", "run-pretrain-best"),
        ("79.29", None),
        ("-3.29", None),
        ("80.00", f"record-{protocol}-detect-best-seed0"),
        ("81.33", None),
        ("-1.33", None),
    ]


@pytest.mark.parametrize(
    ("cell", "order"),
    [
        ("33.90 ± 0.12 (n=3)", "33.90"),
        ("-", ""),
        ("-0.50", "-0.50"),
        ("+1.25", "+1.25"),
        ("BCE",) * 2,
        ("< 0.0001", "0.0001"),
    ],
)
def test_cells_are_sorted_by_their_number(cell: str, order: str) -> None:
    assert page.shown_order(cell) == order


def test_the_command_writes_the_page(
    report_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    words = [
        "report",
        "--protocol",
        "demo",
        "--runs",
        report_runs,
        "--data",
        tmp_path,
        "--out",
        out,
    ]
    assert main([str(it) for it in words]) == 0
    assert "10 records of protocol demo" in capsys.readouterr().out
    assert out.read_text().startswith("<!DOCTYPE html>")
