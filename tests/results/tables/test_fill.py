"""Filled tables: rows and columns in the papers' order, values worked out by hand, one protocol."""

from __future__ import annotations

import csv
from collections.abc import Callable

import numpy as np
import pytest

from core.record import Backbone, Record
from results.papers import published
from results.papers.tables import TABLES
from results.tables.fill import Table, build
from results.tables.render import to_csv, to_markdown
from results.tables.spec import TableSpec

Make = Callable[..., Record]

DECLARED: dict[str, TableSpec] = {spec.file: spec for spec in TABLES}
FIGURES = published.load()


def table(file: str, *records: Record, skipped: tuple[str, ...] = ()) -> Table:
    return build(DECLARED[file], records, FIGURES, skipped)


def as_rows(built: Table) -> dict[str, dict[str, str]]:
    """A table's CSV by the first column, then by the header."""
    lines = list(csv.DictReader(to_csv(built).splitlines()))
    return {line[built.spec.row_heading]: line for line in lines}


def random_backbone(architecture: str = "resnet50d") -> Backbone:
    return Backbone(
        source=f"random:{architecture}",
        architecture=architecture,
        pretrained=False,
        sha256="d" * 64,
    )


@pytest.fixture
def detect(make: Make) -> Make:
    """A record of the default detector on the stand-in for VOC."""

    def make_detect(value: float, **fields: object) -> Record:
        return make(**({"stage": "detect", "mirrors": "voc", "values": {"map": value}} | fields))

    return make_detect


@pytest.fixture
def finetune(make: Make) -> Make:
    def make_finetune(mirrors: str, value: float, **fields: object) -> Record:
        task = f"finetune-{mirrors}"
        values = {"top1": value}
        return make(stage="finetune", task=task, mirrors=mirrors, values=values, **fields)

    return make_finetune


def test_headers_are_exact(make: Make) -> None:
    def measured(*keys: str) -> str:
        columns = ("", " std", " n", " published", " difference")
        return ",".join(f"{key}{column}" for key in keys for column in columns)

    files = ("table7", "table8", "table9", "strikes-back-table5", "probes")
    headers = {file: to_csv(table(file, make())).splitlines()[0] for file in files}
    assert headers == {
        "table7": f"model,{measured('val_top1', 'val_top5', 'test_top1', 'test_top5')}",
        "table8": f"base model,{measured('top1', 'map')}",
        "table9": f"base model,{measured('top1', 'pix_acc', 'miou')}",
        "strikes-back-table5": f"dataset,{measured('pytorch', 'a1', 'a2', 'a3')}",
        "probes": "backbone",
    }


def test_rows_are_the_papers_in_the_papers_order(make: Make) -> None:
    refinements = ["B-standard", "D-efficient", "+ cosine", "+ smooth"]
    refinements += ["+ distill w/o mixup", "+ mixup w/o distill"]
    expected = {
        "table7": ["ResNet-50-D Efficient", "ResNet-50-D Best"],
        "table8": [*refinements, "+ distill w/ mixup"],
        "table9": [*refinements, "+ mixup w/ distill"],
        "strikes-back-table5": [
            "ImageNet-val",
            "iNaturalist 2019",
            "Flowers-102",
            "Stanford Cars",
            "CIFAR-100",
            "CIFAR-10",
        ],
        "probes": [],
    }
    assert {file: list(as_rows(table(file, make()))) for file in expected} == expected


def test_each_recipe_fills_the_row_that_the_paper_gives_it(make: Make, detect: Make) -> None:
    recipes = ["b-standard", "d-efficient", "cosine", "smooth", "distill", "mixup", "best"]
    records = [make(recipe=it, values={"top1": 60.0 + i}) for i, it in enumerate(recipes)]
    records += [detect(40.0 + i, recipe=it) for i, it in enumerate(recipes)]
    lines = list(as_rows(table("table8", *records)).values())
    assert [line["top1"] for line in lines] == [f"{60 + i}.00" for i in range(7)]
    assert [line["map"] for line in lines] == [f"{40 + i}.00" for i in range(7)]
    assert lines[0]["map published"] == "77.54"
    assert lines[0]["map difference"] == "-37.54"


def test_segmentation_fills_both_of_its_columns(make: Make) -> None:
    run = make(stage="segment", mirrors="ade20k", values={"pix_acc": 79.0, "miou": 40.0})
    row = as_rows(table("table9", run))["+ mixup w/ distill"]
    assert (row["pix_acc"], row["miou"], row["top1"]) == ("79.00", "40.00", "-")
    assert (row["pix_acc difference"], row["miou difference"]) == ("0.28", "1.60")


def test_table7_is_of_places_and_knows_no_test_labels(make: Make) -> None:
    both = {"top1": 56.0, "top5": 86.0}
    rows = as_rows(
        table(
            "table7",
            make(recipe="mixup", mirrors="places365", task="pretrain-places365", values=both),
            make(recipe="d-efficient", values={"top1": 77.0}),  # ImageNet's
            make(recipe="best", mirrors="places365", values=both),  # has a teacher
        )
    )
    assert rows["ResNet-50-D Best"]["val_top1"] == "56.00"
    assert rows["ResNet-50-D Best"]["val_top5 difference"] == "-1.33"
    assert rows["ResNet-50-D Best"]["test_top1"] == "-"
    assert rows["ResNet-50-D Best"]["test_top1 published"] == "57.63"
    assert rows["ResNet-50-D Best"]["test_top1 difference"] == "-"
    assert rows["ResNet-50-D Efficient"]["val_top1"] == "-"


def test_table7_tells_splits_apart(make: Make) -> None:
    served = make(recipe="mixup", mirrors="places365", values={"top1": 57.0}, split="test")
    row = as_rows(table("table7", served))["ResNet-50-D Best"]
    assert (row["val_top1"], row["test_top1"]) == ("-", "57.00")


def test_table5_takes_data_sets_as_rows(make: Make, finetune: Make) -> None:
    v1 = "torchvision-resnet50-IMAGENET1K_V1"
    rows = as_rows(
        table(
            "strikes-back-table5",
            make(recipe="a1", values={"top1": 80.0}),
            finetune("cifar10", 98.0, recipe="a1"),
            finetune("flowers102", 97.0, recipe=v1, source="file:weights.pth"),
            finetune("cifar100", 86.0, recipe="tv", source="torchvision:resnet50"),
        )
    )
    assert rows["ImageNet-val"]["a1"] == "80.00"
    assert rows["CIFAR-10"]["a1 difference"] == "-0.30"
    assert rows["Flowers-102"]["pytorch"] == "97.00"
    assert rows["CIFAR-100"]["pytorch"] == "86.00"
    assert rows["CIFAR-100"]["pytorch published"] == "86.60"
    assert list(rows["CIFAR-10"])[-1] == "a3 difference"  # each has a column of the paper's


def test_torchvisions_second_weights_are_not_the_papers_column(finetune: Make) -> None:
    v2 = "torchvision-resnet50-IMAGENET1K_V2"
    run = finetune("cifar10", 98.0, recipe=v2, source="torchvision:resnet50.IMAGENET1K_V2")
    row = as_rows(table("strikes-back-table5", run))["CIFAR-10"]
    assert row["pytorch"] == "-"
    assert row[v2] == "98.00"


def test_table5_grows_a_column_per_further_backbone(make: Make, finetune: Make) -> None:
    built = table(
        "strikes-back-table5",
        finetune("cifar10", 10.0, recipe="random-resnet50d", backbone=random_backbone()),
        finetune("cifar10", 97.0, recipe="mine"),
        finetune("cifar10", 96.0, recipe="best"),
        finetune("food101", 90.0, recipe="elsewhere"),  # not a dataset of this table
        make(recipe="mine", values={"top1": 70.0}),
    )
    further = ["best", "mine", "random weights (resnet50d)"]
    header = to_csv(built).splitlines()[0].split(",")
    assert [key for key in header[-10:] if not key.endswith((" std", " n"))] == [
        "a3 difference",
        *further,
    ]
    rows = as_rows(built)
    assert [rows["CIFAR-10"][name] for name in further] == ["96.00", "97.00", "10.00"]
    assert [rows["ImageNet-val"][name] for name in further] == ["-", "70.00", "-"]


def test_fpn_stays_out_of_table8(detect: Make) -> None:
    built = table(
        "table8",
        detect(70.0, recipe="best", task="detect"),
        detect(80.0, recipe="best", task="detect-fpn"),
        detect(60.0, recipe="mine", task="detect-fpn"),
    )
    rows = as_rows(built)
    assert rows["+ distill w/ mixup"]["map"] == "70.00"
    assert "mine" not in rows
    assert not any("differ" in note for note in built.notes)


def test_random_weights_and_own_backbones_come_after_the_papers_rows(
    make: Make, detect: Make
) -> None:
    small = "random-resnet18"
    rows = as_rows(
        table(
            "table8",
            detect(30.0, recipe="mine"),
            detect(9.0, recipe="random-resnet50d", backbone=random_backbone()),
            detect(8.0, recipe=small, backbone=random_backbone("resnet18")),
            make(recipe="mine", values={"top1": 55.0}),
            make(recipe="pretrained-only"),
        )
    )
    below = ["random weights (resnet18)", "random weights (resnet50d)", "mine"]
    assert list(rows)[7:] == below
    assert [rows[name]["map"] for name in below] == ["8.00", "9.00", "30.00"]
    assert [rows[name]["top1"] for name in below] == ["-", "-", "55.00"]
    assert {rows[name]["map published"] for name in below} == {"-"}


def test_probes_has_a_column_for_each_metric_with_records(make: Make, finetune: Make) -> None:
    def linear(mirrors: str, **fields: object) -> Record:
        return make(stage="linear", task=f"linear-{mirrors}", mirrors=mirrors, **fields)

    built = table(
        "probes",
        linear("cifar10", recipe="a1", values={"top1": 91.0, "top5": 99.0}),
        linear("cifar10", recipe="another", values={"top1": 90.0, "loss": 0.4}),
        linear("cifar10", recipe="a", backbone=random_backbone(), values={"top1": 30.0}),
        linear("pets", recipe="b-standard", values={"top1": 80.0}),
        finetune("cifar10", 97.0, recipe="a1"),
        make(recipe="best"),
    )
    columns = ["linear cifar10 top1", "linear cifar10 top5", "linear pets top1"]
    columns += ["finetune cifar10 top1"]
    assert [(name, *(line[key] for key in columns)) for name, line in as_rows(built).items()] == [
        ("b-standard", "-", "-", "80.00", "-"),
        ("a1", "91.00", "99.00", "-", "97.00"),
        ("another", "90.00", "-", "-", "-"),
        ("random weights (resnet50d)", "30.00", "-", "-", "-"),
    ]
    assert "published" not in to_markdown(built).split("|", 1)[1]


def test_seeds_are_averaged(detect: Make) -> None:
    values = [80.91, 81.47, 81.13]
    built = table("table8", *(detect(value, seed=seed) for seed, value in enumerate(values)))
    mean, deviation = np.mean(values), np.std(values, ddof=1)
    assert f"{mean:.2f} ± {deviation:.2f} (n=3)" == "81.17 ± 0.28 (n=3)"
    line = next(it for it in to_markdown(built).splitlines() if "+ distill w/ mixup" in it)
    assert [cell.strip() for cell in line.split("|")[1:-1]] == [
        "+ distill w/ mixup",
        *("-", "79.29", "-"),
        *("81.17 ± 0.28 (n=3)", "81.33", f"{mean - 81.33:+.2f}"),
    ]
    row = as_rows(built)["+ distill w/ mixup"]
    assert (row["map"], row["map std"], row["map n"]) == ("81.17", f"{deviation:.2f}", "3")


def test_a_single_seed_has_no_deviation(detect: Make) -> None:
    assert "±" not in to_markdown(table("table8", detect(81.0)))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"fingerprint": "e" * 64}, "dataset fingerprint: aaaaaaaaaaaa and eeeeeeeeeeee"),
        ({"samples": 60}, "number of samples: 120 and 60"),
        ({"split": "test"}, "split: val and test"),
        ({"config": {"lr": 0.2}}, "config lr: 0.1 and 0.2"),
        ({"config": {"lr": 0.1, "tta": True}}, "config work_dir: "),
    ],
)
def test_runs_that_differ_in_more_than_the_seed_are_not_averaged(
    detect: Make, changed: dict[str, object], told: str
) -> None:
    built = table("table8", detect(80.0, seed=0), detect(82.0, seed=1, **changed))
    assert as_rows(built)["+ distill w/ mixup"]["map"] == "-"
    (complaint,) = (note for note in built.notes if "not averaged" in note)
    assert complaint.startswith(
        "+ distill w/ mixup, mAP: not averaged: detect/best/seed0 and detect/best/seed1 differ in "
    )
    assert told in complaint


def test_one_seed_does_not_count_twice(detect: Make) -> None:
    built = table("table8", detect(80.0), detect(80.0))
    assert as_rows(built)["+ distill w/ mixup"]["map"] == "-"
    assert any("detect/best/seed0 appears twice" in note for note in built.notes)


def test_a_fraction_is_not_shown_as_a_percentage(detect: Make) -> None:
    built = table("table8", detect(0.81, unit="1"))
    assert as_rows(built)["+ distill w/ mixup"]["map"] == "-"
    assert any("has map in '1', expected %" in note for note in built.notes)


def test_a_table_is_of_one_protocol(make: Make) -> None:
    with pytest.raises(ValueError, match=r"\['demo', 'paper'\]"):
        table("table8", make(), make(protocol="paper"))
    with pytest.raises(ValueError, match="none"):
        table("table8")


def test_a_demo_table_cannot_be_taken_for_the_papers(detect: Make) -> None:
    text = to_markdown(table("table8", detect(81.0)))
    title, _, sentence, _, header, rule = text.splitlines()[:6]
    assert title == "## Bag of Tricks, table 8: Faster R-CNN on PASCAL VOC (protocol demo)"
    assert "These numbers come from rendered data and are not comparable with the pub" in sentence
    assert [cell.strip() for cell in header.split("|")[1:-1]] == [
        "base model",
        *("top-1 (demo)", "top-1 published", "difference"),
        *("mAP (demo)", "mAP published", "difference"),
    ]
    assert set(rule) == set("|:- ")


def test_a_mini_table_warns_of_small_data_and_a_paper_table_does_not(make: Make) -> None:
    assert "come from small data" in to_markdown(table("table8", make(protocol="mini")))
    papers = to_markdown(table("table8", make(protocol="paper")))
    assert "not comparable" not in papers
    assert "top-1 (ours)" in papers


def test_markdown_lines_up_and_escapes_pipes(detect: Make) -> None:
    text = to_markdown(table("table8", detect(50.0, recipe="a|b")))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    assert lines[-1].startswith(r"| a\|b ")
    assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1


def test_notes_describe_the_test_data(make: Make, detect: Make) -> None:
    built = table(
        "table8",
        detect(80.0, detail="11-point AP at IoU 0.5", split="test", recipe="best"),
        detect(80.0, samples=60, recipe="mixup", clean=False),
        make(recipe="best", clean=None),
        skipped=("runs/demo/x/record.json: seed: Field required",),
    )
    print_of_data = "(fingerprint aaaaaaaa)"
    assert built.notes == (
        f"top-1: 120 samples of split val of demo-imagenet, in place of imagenet {print_of_data}",
        "mAP of + mixup w/o distill: 60 samples of split val of demo-voc, in place of voc "
        + print_of_data,
        "mAP of + distill w/ mixup: 11-point AP at IoU 0.5, 120 samples of split test of demo-voc, "
        f"in place of voc {print_of_data}",
        "1 of 3 records were made with uncommitted changes",
        "1 of 3 records have no known commit",
        "records skipped: 1",
        "skipped: runs/demo/x/record.json: seed: Field required",
    )


def test_a_table_without_records_says_so(make: Make) -> None:
    assert table("table9", make(recipe="unlisted")).notes == ("no record for this table yet",)
