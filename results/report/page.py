"""One HTML page with all tables, figures and records. It opens from disk and loads nothing.

DataTables (bundled by itables) sorts and filters. Jinja escapes all text from records, and the
content security policy (CSP) of the page allows only its own script.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import itables
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from core import files, record
from core.record import Record, RecordError
from results.analysis import transfer, tricks
from results.figures import RenderedFigure
from results.figures.drawing import FigureInputs
from results.papers import published
from results.report import coverage
from results.report.reproduce import command_of
from results.store import query
from results.store.comparability import run_name
from results.tables import render
from results.tables.fill import Table, build
from results.tables.grid import DASH, Grid
from results.tables.index import Index
from results.tables.paper_table import Published
from results.tables.spec import TableSpec

PAGE = Path(__file__).parent
LIBRARY = Path(itables.__file__).with_name("html")
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")
_EXPORTED = re.compile(r"export\s*\{[^}]*?([\w$]+) as default[^}]*\};?")


@dataclass(frozen=True)
class Entry:
    """A record on the page.

    Attributes:
        anchor: its id; `group` is the id of the section with all seeds.
        parent: the anchor of the record of its backbone, if that is on the page.
    """

    anchor: str
    group: str
    name: str
    file: str
    sha256: str
    run: Record
    command: str | None
    config: str
    parent: str | None


@dataclass(frozen=True)
class ShownCell:
    """A cell: its text, its sort key, and the anchor of its records."""

    text: str
    order: str
    href: str | None = None
    bold: bool = False


@dataclass(frozen=True)
class ShownTable:
    anchor: str
    about: Grid
    lines: list[list[ShownCell]]


def page(
    inputs: FigureInputs,
    specs: Sequence[TableSpec],
    figures: Sequence[RenderedFigure],
    runs: Path,
    skipped: Sequence[str] = (),
) -> str:
    """The page for the records of one protocol; the same records give the same bytes.

    Args:
        specs: the tables; those without a record are listed as missing.
        runs: paths of records are shown relative to this folder.
        skipped: messages about unreadable records.
    """
    found = entries(inputs.records, runs)
    index, figures_published = Index(list(inputs.records.values())), published.load()
    built = [build(it, index, figures_published) for it in specs]
    overlay = _overlay(inputs.protocol)
    cells = coverage.coverage(inputs.records.values(), inputs.protocol, overlay.get("datasets"))
    script = _script()
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            protocol=inputs.protocol,
            note=overlay.get("note", ""),
            warning=render.not_comparable(inputs.protocol),
            newest=max(it.finished for it in inputs.records.values()),
            datasets=_datasets(inputs.records.values()),
            coverage=cells,
            tasks=[it.task for it in cells[0]],
            missing=coverage.missing(cells),
            tables=[
                *(shown(table, found) for table in built if not table.empty),
                *_tricks(index, inputs.records, figures_published),
                *_correlations(index, figures_published),
            ],
            empty=[table.spec.name for table in built if table.empty],
            figures=[it for it in figures if not it.reason],
            not_drawn=[it for it in figures if it.reason],
            skipped=skipped,
            groups=_groups(found),
            style=Markup(_style()),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def entries(records: Mapping[Path, Record], runs: Path) -> list[Entry]:
    """The records sorted by name, with unique anchors."""
    in_order = sorted(records.items(), key=lambda it: (run_name(it[1]), it[0]))
    groups = anchors(sorted({_group(run) for run in records.values()}), "run")
    own = anchors([str(path.relative_to(runs).parent) for path, _ in in_order], "record")
    hashes = {path: files.sha256_of(path) for path in records}
    by_hash = {
        hashes[path]: anchor for (path, _), anchor in zip(in_order, own.values(), strict=True)
    }
    return [
        Entry(
            anchor=anchor,
            group=groups[_group(run)],
            name=name,
            file=str(path.relative_to(runs)),
            sha256=hashes[path],
            run=run,
            command=command_of(run),
            config=json.dumps(run.model_dump(mode="json")["config"], indent=1, ensure_ascii=False),
            parent=by_hash.get(run.backbone.record_sha256 or ""),
        )
        for (path, run), (name, anchor) in zip(in_order, own.items(), strict=True)
    ]


def _group(run: Record) -> str:
    """The name that all seeds share."""
    return f"{run.task}/{run.recipe}"


def anchors(names: Sequence[str], prefix: str) -> dict[str, str]:
    """A unique id for each name, of letters, digits and hyphens; duplicates are numbered."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = stem = f"{prefix}-{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')}"
        number = 2
        while plain in taken:
            plain, number = f"{stem}-{number}", number + 1
        taken.add(plain)
        found[name] = plain
    return found


def shown(table: Table, found: Sequence[Entry]) -> ShownTable:
    """A table whose measured values link to their record, or to all seeds of a mean."""
    grid = render.grid(table)
    by_run = {id(entry.run): entry for entry in found}
    places = _own_places(table, grid.head)
    links = {}
    for i, cells in enumerate(table.cells):
        for place, cell in zip(places, cells, strict=True):
            here = [by_run[id(run)] for run in cell.runs]
            if here and place is not None:
                links[i, place] = here[0].anchor if len(here) == 1 else here[0].group
    return _shown_grid(f"table-{table.spec.file}", grid, links)


def _tricks(index: Index, records: Mapping[Path, Record], figures: Published) -> list[ShownTable]:
    """What each trick added; empty if there is no pair of recipes to compare."""
    try:
        return [_shown_grid("table-tricks", tricks.grid(index, query.folders(records), figures))]
    except RecordError:
        return []


def _correlations(index: Index, figures: Published) -> list[ShownTable]:
    """Correlations of source and downstream accuracy; empty if there are none."""
    try:
        return [_shown_grid("table-transfer", transfer.grid(index, figures))]
    except RecordError:
        return []


def _shown_grid(
    anchor: str, grid: Grid, links: Mapping[tuple[int, int], str] | None = None
) -> ShownTable:
    """A grid with links to records by (line, cell)."""
    lines = [
        [
            ShownCell(
                text=text,
                order=shown_order(text) if j else text,
                href=(links or {}).get((i, j)) if text != DASH else None,
                bold=(i, j) in grid.bold,
            )
            for j, text in enumerate(line)
        ]
        for i, line in enumerate(grid.lines)
    ]
    return ShownTable(anchor, grid, lines)


def _own_places(table: Table, head: Sequence[str]) -> list[int | None]:
    """The position of each column's measured value in a line; None for columns without one."""
    ours = render.side(table.protocol)
    places: list[int | None] = []
    start = 1
    for column in table.columns:
        if column.metric is None:
            places.append(None)
            continue
        place = head.index(f"{column.heading} ({ours})", start)
        places.append(place)
        start = place + 1
    return places


def shown_order(text: str) -> str:
    """The sort key of a cell: 33.90 for "33.90 ± 0.12 (n=3)", 1 for "< 1", nothing for a dash."""
    if text == DASH:
        return ""
    number = _NUMBER.match(text.removeprefix("< "))
    return number[0] if number else text


def _groups(found: Sequence[Entry]) -> dict[tuple[str, str], list[Entry]]:
    """The records by (anchor, name) of their group."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in found:
        groups.setdefault((entry.group, _group(entry.run)), []).append(entry)
    return groups


def _datasets(records: Iterable[Record]) -> list[record.Dataset]:
    """The datasets of the records, each once, sorted by name."""
    sets = {(it.dataset.name, it.dataset.fingerprint): it.dataset for it in records}
    return [sets[key] for key in sorted(sets)]


def _overlay(protocol: str) -> Mapping[str, Any]:
    """The config of a protocol; empty if it has no file in configs/protocol."""
    # importing mmengine takes a second, and only this function needs it
    from core import configs

    known = protocol in configs.names("protocol")
    return configs.read_protocol(protocol).to_dict() if known else {}


def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["svg"] = Markup
    return found


def _style() -> str:
    return (LIBRARY / "dt_bundle.css").read_text("utf-8") + (PAGE / "report.css").read_text("utf-8")


def _script() -> str:
    """DataTables and report.js, escaped so that the text can stand between script tags."""
    library = (LIBRARY / "dt_bundle.js").read_text("utf-8")
    exported = _EXPORTED.search(library)
    assert exported is not None, f"itables {itables.__version__} exports no DataTable"
    library = _EXPORTED.sub(lambda it: f"const DataTable={it[1]};", library, count=1)
    text = f"{{{library}\n{(PAGE / 'report.js').read_text('utf-8')}}}"
    return re.sub(r"<(?=!--|/?script)", r"\\x3C", text, flags=re.IGNORECASE)
