"""The published values: the literals below were copied from the papers by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from results.papers import published
from results.papers.tables import OWN_TABLES, TABLES
from results.tables.paper_table import Figure, Published, PublishedTable

SHAPES = {
    "bag-of-tricks/1": (6, 3),
    "bag-of-tricks/2": (3, 4),
    "bag-of-tricks/3": (3, 6),
    "bag-of-tricks/4": (5, 4),
    "bag-of-tricks/5": (4, 4),
    "bag-of-tricks/6": (6, 6),
    "bag-of-tricks/7": (2, 4),
    "bag-of-tricks/8": (7, 2),
    "bag-of-tricks/9": (7, 3),
    "strikes-back/1": (3, 8),
    "strikes-back/3": (25, 8),
    "strikes-back/5": (6, 7),
    "strikes-back/6": (22, 5),
    "strikes-back/drop-smoothing": (5, 3),
    "strikes-back/9": (4, 15),
}


@pytest.fixture(scope="module")
def tables() -> dict[str, PublishedTable]:
    return published.load()


def test_every_table_has_the_papers_shape(tables: Published) -> None:
    assert {name: (len(table.rows), len(table.columns)) for name, table in tables.items()} == SHAPES


@pytest.mark.parametrize(
    ("table", "row", "column", "figure"),
    [
        ("bag-of-tricks/1", "ResNet-50 + tricks", "top1", 79.29),
        ("bag-of-tricks/1", "ResNeXt-50", "top5", None),
        ("bag-of-tricks/2", "Inception-V3", "reference_top1", 78.8),
        ("bag-of-tricks/3", "ResNet-50", "baseline_min_per_epoch", 13.3),
        ("bag-of-tricks/4", "+ Zero gamma", "bs1024_top1", 76.37),
        ("bag-of-tricks/5", "ResNet-50-D", "top5", 93.52),
        ("bag-of-tricks/6", "+ label smoothing", "resnet50d_top1", 78.31),
        ("bag-of-tricks/7", "ResNet-50-D Best", "val_top1", 56.70),
        ("bag-of-tricks/7", "ResNet-50-D Best", "test_top5", 87.82),
        ("bag-of-tricks/8", "B-standard", "map", 77.54),
        ("bag-of-tricks/8", "+ distill w/ mixup", "map", 81.33),
        ("bag-of-tricks/8", "+ smooth", "top1", 78.34),
        ("bag-of-tricks/9", "+ cosine", "miou", 39.33),
        ("bag-of-tricks/9", "+ mixup w/ distill", "pix_acc", 78.72),
        ("strikes-back/1", "A1", "peak_memory_mb", 22095),
        ("strikes-back/3", "ResNet-50", "a1", 80.4),
        ("strikes-back/3", "ECA-ResNet-50-T", "original", None),
        ("strikes-back/5", "iNaturalist 2019", "a2", 75.0),
        ("strikes-back/5", "CIFAR-10", "a1", 98.3),
        ("strikes-back/6", "6", "top1", 79.85),
        ("strikes-back/6", "12", "loss", "CE"),
        ("strikes-back/6", "9", "repeated_augmentation", False),
        ("strikes-back/drop-smoothing", "drop 0.05", "a1", 80.38),
        ("strikes-back/9", "0.95", "a1_seed0", 80.38),
    ],
)
def test_figures_are_the_papers(
    tables: Published, table: str, row: str, column: str, figure: Figure
) -> None:
    assert tables[table].figure(row, column) == figure


def test_every_declared_row_and_column_is_published(tables: Published) -> None:
    assert {it.name for it in TABLES} - {it.name for it in OWN_TABLES} == set(tables)
    for spec in TABLES:
        if spec in OWN_TABLES:
            continue
        table = tables[spec.name]
        assert [row.heading for row in spec.rows] == list(table.rows)
        keys = [column.key for column in spec.columns]
        # The paper's table 5 also prints the sizes of the datasets, which are not results.
        assert keys == list(table.columns)[-len(keys) :]


def test_an_unknown_row_or_column_is_refused_with_the_known_ones(
    tables: Published,
) -> None:
    with pytest.raises(KeyError, match=r"no column 'ap' among \['top1', 'map'\]"):
        tables["bag-of-tricks/8"].figure("B-standard", "ap")
    with pytest.raises(KeyError, match="no row 'best' among"):
        tables["bag-of-tricks/8"].figure("best", "map")


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (
            "columns: [a, b], rows: {x: [1]}",
            "row 'x' has 1 values, expected one for each of the 2 columns",
        ),
        (
            "columns: [a], rows: [[1], [1, 2]]",
            "row '2' has 2 values, expected one for each of the 1 columns",
        ),
        ("columns: [a, a], rows: {x: [1, 2]}", "a column is named twice"),
        ("columns: [a], rows: {x: [1]}, note: hm", "tables.1.note"),
    ],
)
def test_a_misshapen_table_is_refused_by_name(tmp_path: Path, table: str, complaint: str) -> None:
    path = tmp_path / "paper.yaml"
    head = 'paper: P\nauthors: A\nvenue: 2021\narxiv: "1"\ntables:\n'
    path.write_text(head + f'  "1": {{caption: C, {table}}}\n')
    with pytest.raises(ValueError, match=r"tables\.1") as refused:
        published.read(path)
    assert str(path) in str(refused.value)
    assert complaint in str(refused.value)


def test_a_file_that_is_no_yaml_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "paper.yaml"
    path.write_text("tables: [")
    with pytest.raises(ValueError, match="not YAML") as refused:
        published.read(path)
    assert str(path) in str(refused.value)
