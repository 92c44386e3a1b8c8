"""The published records, and the tables built from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.metrics.statistic import value
from results.__main__ import main
from results.stats import per_image
from results.store import query

RESULTS = Path(__file__).parents[2] / "results"
RECORDS = RESULTS / "records"
PROTOCOLS = sorted(path.parent.name for path in RECORDS.glob("*/tables"))


def test_every_hash_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "verify", "--runs", str(RECORDS)]) == 0
    # only weights are not published
    absent = [line for line in capsys.readouterr().out.splitlines() if "not verified:" in line]
    assert all(line.endswith("backbone.safetensors: missing") for line in absent)


def test_every_record_names_a_clean_commit() -> None:
    found, complaints = query.attempts(RECORDS, None)
    assert found
    assert not complaints
    for path, run in found.items():
        assert run.git.commit, path
        assert run.git.clean, path


def test_every_metric_follows_from_the_per_image_results() -> None:
    found, _ = query.attempts(RECORDS, None)
    compared = set()
    for path, run in found.items():
        for metric in filter(lambda name: per_image.kept_in(run, name), run.metrics):
            loaded = per_image.load(path.parent, run, metric)
            assert loaded is not None, path
            again = value(loaded.statistic, len(loaded.images))
            # to the last bit, but for the rule whose sum was in another order in these runs
            rounding = 1e-12 if metric == "map_all_point" else 0
            assert abs(again - run.metrics[metric].value) <= rounding, (path, metric)
            compared.add(metric)
    assert compared >= {"map", "map_all_point", "miou", "pix_acc", "top1", "top5"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_tables_are_built_from_them_byte_for_byte(protocol: str, tmp_path: Path) -> None:
    options = ["--runs", str(RECORDS), "--out", str(tmp_path)]
    assert main(["tables", "--protocol", protocol, *options]) == 0
    options[-1] = str(tmp_path / "tricks.md")
    assert main(["tricks", "--protocol", protocol, *options]) == 0

    # made by the two commands above, with records/<protocol>/tables as the output folder
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert built == {
        path.name: path.read_bytes() for path in (RECORDS / protocol / "tables").iterdir()
    }
