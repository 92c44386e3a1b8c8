"""Each run fills its cell of the paper, and no other. The labels are written out by hand."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core import configs
from core.choices import Choices, row_label
from core.record import Metric, Record
from core.tasks import TASKS
from pretrain import recipe
from results.papers import ablations, published
from results.papers.tables import TABLES
from results.tables.fill import Table, build

Make = Callable[..., Record]

DECLARED = {spec.name: spec for spec in TABLES}
FIGURES = published.load()


def filled(name: str, *records: Record, own: tuple[str, ...] = ()) -> Table:
    return build(DECLARED[name], records, FIGURES, own=own)


def found(table: Table) -> dict[tuple[str, str], float | None]:
    """The measured values by (row, column)."""
    return {
        (row.heading, column.key): cell.value
        for row, cells in zip(table.rows, table.cells, strict=True)
        for column, cell in zip(table.columns, cells, strict=True)
        if cell.runs
    }


@pytest.mark.parametrize(
    ("name", "recipe_label", "row", "column"),
    [
        ("bag-of-tricks/1", "best", "ResNet-50 + tricks", "top1"),
        ("bag-of-tricks/2", "bs256-linear-scaling", "ResNet-50", "baseline_top1"),
        ("bag-of-tricks/2", "b-standard-inception_v3", "Inception-V3", "baseline_top1"),
        ("bag-of-tricks/2", "b-standard-mobilenetv1_100", "MobileNet", "baseline_top1"),
        ("bag-of-tricks/3", "bs256-linear-scaling", "ResNet-50", "baseline_top1"),
        ("bag-of-tricks/3", "bs1024-fp16", "ResNet-50", "efficient_top1"),
        ("bag-of-tricks/3", "d-efficient-inception_v3", "Inception-V3", "efficient_top1"),
        ("bag-of-tricks/3", "d-efficient-mobilenetv1_100", "MobileNet", "efficient_top1"),
        ("bag-of-tricks/4", "bs256-warmup", "+ LR warmup", "bs256_top1"),
        ("bag-of-tricks/4", "bs1024-no-bias-decay", "+ No bias decay", "bs1024_top1"),
        ("bag-of-tricks/5", "bs1024-fp16", "ResNet-50", "top1"),
        ("bag-of-tricks/5", "c-efficient", "ResNet-50-C", "top1"),
        ("bag-of-tricks/6", "d-efficient", "Efficient", "resnet50d_top1"),
        ("bag-of-tricks/6", "cosine-inception_v3", "+ cosine decay", "inceptionv3_top1"),
        ("bag-of-tricks/6", "best-mobilenetv1_100", "+ distill w/ mixup", "mobilenet_top1"),
        ("strikes-back/1", "a3", "A3", "val"),
        ("strikes-back/3", "a1", "ResNet-50", "a1"),
        ("strikes-back/3", "a2-seresnet50", "SE-ResNet-50", "a2"),
        ("strikes-back/3", "a3-ecaresnet269d", "ECA-ResNet-269-D", "a3"),
        ("strikes-back/6", "a2", "6", "top1"),
        ("strikes-back/6", "a2-lr-0.002", "1", "top1"),
        ("strikes-back/6", "a2-loss-ce-lr-0.003-repeats-1", "18", "top1"),
        ("strikes-back/drop-smoothing", "a1-drop_path-0.0", "drop 0", "a1"),
        ("strikes-back/drop-smoothing", "a2-label_smoothing-0.1", "smoothing on", "a2"),
    ],
)
def test_a_run_fills_its_cell(
    make: Make, name: str, recipe_label: str, row: str, column: str
) -> None:
    cells = found(filled(name, make(recipe=recipe_label, values={"top1": 61.0})))
    assert {key: value for key, value in cells.items() if value == 61.0} == {(row, column): 61.0}


def test_a_recipe_fills_every_row_with_its_settings(make: Make) -> None:
    assert set(found(filled("strikes-back/drop-smoothing", make(recipe="a1")))) == {
        ("drop 0.05", "a1"),
        ("smoothing on", "a1"),
    }


def test_ablations_are_labelled_as_their_folders_are() -> None:
    own = {
        name: recipe.from_config(configs.read("pretrain", name), name)
        for name in ablations.DEFAULTS
    }
    for name, settings in ablations.DEFAULTS.items():
        assert {key: getattr(own[name], key) for key in settings} == settings
    for run in ablations.runs():
        chosen = Choices(variant=run.recipe, cfg_options=run.options)
        assert run.label == row_label(TASKS["pretrain"], chosen)
    assert len(list(ablations.runs())) == 22 + 5 * 3


def test_table3_of_strikes_back_has_every_architecture() -> None:
    root = Path(__file__).resolve().parents[3]
    named = runpy.run_path(str(root / "configs" / "architectures.py"))["strikes_back_table3"]
    assert [row.heading for row in DECLARED["strikes-back/3"].rows] == list(named)


def test_settings_are_printed_as_they_are(make: Make) -> None:
    (row,) = (
        cells
        for line, cells in zip(
            DECLARED["strikes-back/6"].rows,
            filled("strikes-back/6", make(recipe="a2")).cells,
            strict=True,
        )
        if line.heading == "9"
    )
    assert [cell.published for cell in row] == ["BCE", 3e-3, 0.02, False, 78.74]


def test_costs_come_from_the_record(make: Make) -> None:
    run = make(recipe="a1", protocol="paper", config={"epochs": 600, "train_resolution": 224})
    cost = run.cost.model_copy(
        update={"wall_s": 7200.0, "devices": 4, "parameters": 25_557_032, "flops": 4_089_184_256}
    )
    run = run.model_copy(update={"cost": cost})
    cells = found(filled("strikes-back/1", run))
    assert cells == {
        ("A1", "epochs"): 600,
        ("A1", "train_resolution"): 224,
        ("A1", "hours"): 2.0,
        ("A1", "peak_memory_mb"): 100.0,
        ("A1", "gpus"): 4,
        ("A1", "val"): 50.0,
    }
    costs = found(filled("costs", run))
    assert costs["a1", "params_m"] == pytest.approx(25.557032)
    assert costs["a1", "flops_g"] == pytest.approx(4.089184256)
    assert costs["a1", "images_per_s"] == 240.0
    # 480 training images at 240 a second
    assert costs["a1", "min_per_epoch"] == pytest.approx(2 / 60)
    assert costs["a1", "device_hours"] == 0.001


def test_old_records_have_a_dash_for_missing_costs(make: Make) -> None:
    cells = found(filled("bag-of-tricks/5", make(recipe="d-efficient")))
    assert set(cells) == {("ResNet-50-D", "top1")}


def test_speeds_of_different_devices_are_not_averaged(make: Make) -> None:
    slow = make(recipe="a1")
    fast = make(recipe="a1", seed=1)
    fast = fast.model_copy(update={"cost": fast.cost.model_copy(update={"device": "GPU"})})
    table = filled("costs", slow, fast)
    assert ("a1", "images_per_s") not in found(table)
    assert any("differ in device: cpu and GPU" in note for note in table.notes)


def test_real_and_v2_come_from_evaluations(make: Make) -> None:
    runs = [
        make(stage="evaluate", recipe="a2", mirrors=f"imagenet-{kind}", values={"top1": value})
        for kind, value in (("real", 85.0), ("v2", 67.0))
    ]
    assert found(filled("strikes-back/1", *runs)) == {("A2", "real"): 85.0, ("A2", "v2"): 67.0}


@pytest.mark.parametrize("resolution", [224, 64])
def test_table9_reduces_seeds_in_five_ways(make: Make, resolution: int) -> None:
    values = [78.0, 77.5, 78.4]
    runs = [
        make(
            stage="evaluate",
            recipe="a3",
            seed=seed,
            values={f"top1@{resolution}/0.95": value, f"top1@{resolution}/0.9": 70.0},
        )
        for seed, value in enumerate(values)
    ]
    cells = found(filled("strikes-back/9", *runs))
    row = {column: value for (ratio, column), value in cells.items() if ratio == "0.95"}
    assert row == {
        "a3_mean": pytest.approx(np.mean(values)),
        "a3_std": pytest.approx(np.std(values, ddof=1)),
        "a3_max": 78.4,
        "a3_min": 77.5,
        "a3_seed0": 78.0,
    }


def test_table9_takes_224_pixels_where_there_are_several(make: Make) -> None:
    metric = {"unit": "%", "split": "val", "samples": 10}
    metrics = {
        f"top1@{side}/0.95": Metric(value=value, **metric)
        for side, value in ((160, 70.0), (224, 80.0))
    }
    run = make(stage="evaluate", recipe="a1", metrics=metrics)
    assert found(filled("strikes-back/9", run))["0.95", "a1_mean"] == 80.0


@pytest.mark.parametrize(
    ("name", "own", "label", "column"),
    [
        ("bag-of-tricks/1", "mine", "mine", "top1"),
        ("bag-of-tricks/2", "resnext50_32x4d", "b-standard-resnext50_32x4d", "baseline_top1"),
        ("bag-of-tricks/4", "mine", "bs1024-mine", "bs1024_top1"),
        ("bag-of-tricks/6", "mine", "mine", "resnet50d_top1"),
        ("bag-of-tricks/6", "mine", "mine-inception_v3", "inceptionv3_top1"),
        ("strikes-back/3", "resnest50d", "a1-resnest50d", "a1"),
        ("strikes-back/6", "a2-lr-0.01", "a2-lr-0.01", "top1"),
        ("strikes-back/drop-smoothing", "drop_path-0.2", "a3-drop_path-0.2", "a3"),
    ],
)
def test_own_backbones_join_as_rows(
    make: Make, name: str, own: str, label: str, column: str
) -> None:
    run = make(recipe=label, values={"top1": 61.0})
    table = filled(name, run, own=(own,))
    assert table.rows[-1].heading == own
    assert {(row, key) for (row, key), value in found(table).items() if value == 61.0} == {
        (own, column)
    }


def test_own_backbones_are_named_as_the_user_named_them(make: Make) -> None:
    run = make(recipe="timm-resnet50d.gluon_in1k", stage="detect", mirrors="voc")
    table = filled("bag-of-tricks/8", run, own=("timm:resnet50d.gluon_in1k", "not-yet"))
    assert [row.heading for row in table.rows[-2:]] == ["timm-resnet50d.gluon_in1k", "not-yet"]
