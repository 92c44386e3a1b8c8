"""Every downstream stage through the command, on a few rendered images."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Set
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from core import configs, files, record
from core.metrics import label_maps, segmentation
from downstream.__main__ import main
from downstream.backbones import checks
from downstream.detection import voc
from downstream.openmmlab import runner as openmmlab
from downstream.probes import features
from results.store import query

ARCH = "resnet10d_narrow"
LABEL = f"random-{ARCH}"
FINETUNE = ["--cfg-options", "epochs=1", "batch_size=8", "base_batch_size=8", "warmup_epochs=0"]
INSTANCES = dict.fromkeys(("mask_ap", "mask_ap50", "box_ap", "box_ap50"), 3)
STAGES: dict[str, tuple[list[str], str, dict[str, int], str]] = {
    # words, task, samples of each metric, stage of the record
    "c4": (["detect"], "detect", {"map": 3, "map_all_point": 3, "ap_coco": 3}, "detect"),
    "fpn": (
        ["detect", "--detector", "fpn"],
        "detect-fpn",
        {"map": 3, "map_all_point": 3, "ap_coco": 3},
        "detect",
    ),
    "mask c4": (["instances"], "instances", INSTANCES, "instances"),
    "mask fpn": (["instances", "--detector", "fpn"], "instances-fpn", INSTANCES, "instances"),
    "fcn": (["segment"], "segment", {"pix_acc": 3, "miou": 3}, "segment"),
    "linear": (
        ["probe", "--dataset", "cifar10"],
        "linear-cifar10",
        {"top1": 20, "top5": 20},
        "linear",
    ),
    "finetune": (
        ["probe", "--dataset", "cifar10", "--mode", "finetune", *FINETUNE],
        "finetune-cifar10-base_batch_size-8-batch_size-8-epochs-1-warmup_epochs-0",
        {"top1": 20, "top5": 20},
        "finetune",
    ),
}
pytestmark = pytest.mark.usefixtures("tiny_protocol", "clean_environment")


def _argv(words: list[str], data_root: Path, runs: Path, spec: str = f"random:{ARCH}") -> list[str]:
    common = ["--backbone", spec, "--data", str(data_root), "--runs", str(runs), "--workers", "0"]
    return [words[0], *common, "--seed", "0", *words[1:]]


def _hash_by_hand(path: Path, raw: Callable, without: Set[str] = frozenset()) -> str:
    tensors = {name: tensor for name, tensor in raw(path)[0].items() if name not in without}
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].numpy()
        kind = {"float32": "torch.float32", "int64": "torch.int64"}[str(array.dtype)]
        digest.update(f"{name} {kind} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()


def plausible(metric: record.Metric) -> bool:
    return math.isfinite(metric.value) and 0 <= metric.value <= 100 and metric.unit == "%"


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_from_start_to_record(
    name: str,
    data_root: Path,
    tmp_path: Path,
    raw: Callable,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    words, task, samples, stage = STAGES[name]
    argv = _argv(words, data_root, tmp_path)
    assert main(argv) == 0
    path = tmp_path / "demo" / task / LABEL / "seed0" / "record.json"
    found = record.read(path)
    assert (found.stage, found.task, found.recipe, found.protocol) == (stage, task, LABEL, "demo")
    assert {key: metric.samples for key, metric in found.metrics.items()} == samples
    assert all(plausible(metric) and metric.split for metric in found.metrics.values())
    exchange = tmp_path / "demo" / "backbones" / LABEL / "seed0" / "backbone.safetensors"
    assert found.backbone.sha256 == _hash_by_hand(exchange, raw)
    assert found.backbone.source == f"random:{ARCH}"
    assert not found.backbone.pretrained
    whole = set(raw(exchange)[0])
    left_out = {"fc.weight", "fc.bias"}
    assert set(found.backbone.tensors_left_out) == left_out
    if stage != "linear":
        assert found.backbone.tensors_loaded == len(whole - left_out)
    kept = {
        "detect": ["detections.npz"],
        "instances": ["instances.npz"],
        "segment": ["confusion.npz", "label_maps.npz"],
    }
    content = {name: (path.parent / name).read_bytes() for name in kept.get(stage, ["correct.npz"])}
    assert found.outputs == {k: hashlib.sha256(it).hexdigest() for k, it in content.items()}
    if stage in ("detect", "instances", "segment"):
        assert found.backbone.sha256_in_model == _hash_by_hand(exchange, raw, left_out)
    counts = {"detect": 9, "instances": 9, "segment": 7}
    assert sum(found.dataset.sizes.values()) == counts.get(stage, 60)
    assert found.dataset.mirrors in ("voc", "coco", "ade20k", "cifar10")
    assert found.argv == argv
    measured = found.model_dump_json(exclude={"argv"})
    assert str(tmp_path) not in measured
    assert str(data_root) not in measured
    assert task in capsys.readouterr().out

    # a second call repeats nothing
    before = path.read_bytes()
    for place, attribute in ((Runner, "from_cfg"), (features, "extract")):
        monkeypatch.setattr(place, attribute, lambda *a, **k: pytest.fail("repeated"))
    assert main(argv) == 0
    assert path.read_bytes() == before
    assert ": finished" in capsys.readouterr().out


def test_another_setting_is_another_run(data_root: Path, tmp_path: Path):
    words = STAGES["linear"][0]
    for more in ([], ["--cfg-options", "penalties=[0.5]"]):
        assert main(_argv([*words, *more], data_root, tmp_path)) == 0
    names = {path.parts[-4] for path in tmp_path.glob("demo/*/*/seed0/record.json")}
    assert names == {"linear-cifar10", "linear-cifar10-penalties-0.5-"}
    records, skipped = query.by_file(tmp_path, "demo")
    assert [found.task for found in records.values()] == ["linear-cifar10"]
    assert skipped


def test_an_exchange_file_and_a_recipe_give_the_same(
    data_root: Path, tmp_path: Path, exchange: Callable
):
    words = STAGES["linear"][0]
    path = exchange(path=tmp_path / "demo" / "pretrain" / "best" / "seed0" / "backbone.safetensors")
    assert main(_argv(words, data_root, tmp_path, f"file:{path}")) == 0
    where = ["--data", str(data_root), "--runs", str(tmp_path), "--workers", "0"]
    assert main([*words, "--variant", "best", *where]) == 0
    named, given = (
        record.read(p) for p in sorted(tmp_path.glob("demo/linear-cifar10/*/seed0/record.json"))
    )
    assert named.recipe == "best"
    assert named.backbone.source == "recipe:best"
    assert named.backbone.pretrained
    assert named.backbone.sha256 == given.backbone.sha256
    assert named.metrics == given.metrics


# ---- what is trained


def _tensors_before_and_after(
    words: list[str], data_root: Path, runs: Path, spec: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The backbone's tensors as training begins and as it ends."""
    seen: list[dict[str, torch.Tensor]] = []

    def watch(runner: Runner) -> None:
        seen.append({k: v.clone() for k, v in checks.weights_in(runner.model).items()})

    for name in ("before_train", "after_train"):
        original = getattr(openmmlab.ProgressHook, name)

        def watched(
            self: openmmlab.ProgressHook, runner: Runner, original: Callable = original
        ) -> None:
            original(self, runner)
            watch(runner)

        monkeypatch.setattr(openmmlab.ProgressHook, name, watched)
    assert main(_argv(words, data_root, runs, spec)) == 0
    return seen[0], seen[1]


@pytest.mark.parametrize("name", ["c4", "fcn"])
def test_training_starts_from_the_file_and_moves_only_what_is_not_frozen(
    name: str,
    data_root: Path,
    tmp_path: Path,
    exchange: Callable,
    raw: Callable,
    monkeypatch: pytest.MonkeyPatch,
):
    path = exchange()
    before, after = _tensors_before_and_after(
        STAGES[name][0], data_root, tmp_path, f"file:{path}", monkeypatch
    )
    stored = {k: v for k, v in raw(path)[0].items() if not k.startswith("fc.")}
    assert before.keys() == stored.keys()
    assert all(torch.equal(before[k], stored[k]) for k in stored)
    moved = {k for k in after if not torch.equal(before[k], after[k])}
    convolutions = {k for k in stored if stored[k].dim() == 4}
    if name == "c4":
        frozen = {k for k in convolutions if k.startswith(("conv1.", "layer1."))}
        assert moved == convolutions - frozen
    else:
        assert moved == set(stored), "the norms' statistics too"


# ---- what stops a run


def test_a_loss_that_is_not_finite_stops_the_run(
    data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = [*STAGES["fcn"][0], "--cfg-options", "optim_wrapper.optimizer.lr=1e30"]
    assert main(_argv(words, data_root, tmp_path)) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("trickbench: the loss is ")
    assert "lower optim_wrapper.optimizer.lr" in last
    assert not list(tmp_path.rglob("record.json"))


# ---- what is measured


def test_the_recorded_average_precision_is_voc_maps_of_the_last_epoch(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    measured: list[dict[str, float]] = []
    original = voc.VocMap.compute_metrics

    def compute_metrics(self: voc.VocMap, results: list) -> dict[str, float]:
        assert len(results) == 3
        measured.append(original(self, results))
        return {"map": 12.5, "map_all_point": 25.0, "ap_coco": 6.25}

    monkeypatch.setattr(voc.VocMap, "compute_metrics", compute_metrics)
    assert main(_argv(STAGES["c4"][0], data_root, tmp_path)) == 0
    assert len(measured) == 1, "tested once, after the last epoch"
    found = record.read(tmp_path / "demo" / "detect" / LABEL / "seed0" / "record.json")
    expected = {"map": 12.5, "map_all_point": 25.0, "ap_coco": 6.25}
    assert {k: m.value for k, m in found.metrics.items()} == expected
    assert found.metrics["map"].split == "VOC2007 test"


def test_the_linear_probes_numbers_by_hand(data_root: Path, tmp_path: Path):
    assert main(_argv(STAGES["linear"][0], data_root, tmp_path)) == 0
    out = tmp_path / "demo" / "linear-cifar10" / LABEL / "seed0"
    found = json.loads((out / "record.json").read_text())
    # 20 test images: every accuracy is a multiple of 5 %
    for metric in found["metrics"].values():
        assert metric["value"] % 5 == pytest.approx(0, abs=1e-9)
    assert found["metrics"]["top1"]["value"] <= found["metrics"]["top5"]["value"]
    scores = {float(k): v for k, v in found["chosen"]["held_out_top1"].items()}
    assert list(scores) == found["config"]["penalties"] == [1e-3, 1e-1]
    best = max(scores.values())
    assert found["chosen"]["penalty"] == max(p for p, score in scores.items() if score == best)


# ---- a debug run on part of the training set


@pytest.mark.parametrize("name", ["c4", "mask c4", "fcn", "linear"])
def test_a_limit_is_what_is_trained_on(
    name: str, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    words, task, samples, _ = STAGES[name]
    lengths: list[int] = []
    if name == "linear":
        original = features.extract
        monkeypatch.setattr(
            features,
            "extract",
            lambda m, view, *a: lengths.append(len(view)) or original(m, view, *a),
        )
        limit, sizes = 30, {"train": 30, "test": 20}
    else:
        # the dataset has two parts; half of each is used
        limit, sizes = {
            "c4": (4, {"train": 4, "test": 3}),
            "mask c4": (4, {"trainval": 4, "test": 3}),
            "fcn": (2, {"training": 2, "validation": 3}),
        }[name]
        original = openmmlab.ProgressHook.before_train_epoch
        monkeypatch.setattr(
            openmmlab.ProgressHook,
            "before_train_epoch",
            lambda self, runner: (
                lengths.append(len(runner.train_dataloader.dataset)),
                original(self, runner),
            ),
        )
    assert main([*_argv(words, data_root, tmp_path), "--limit", str(limit)]) == 0
    assert lengths[0] == limit
    # a debug run has its own directory and cannot be mistaken for a full run
    folder = tmp_path / "demo" / f"{task}-limit{limit}" / LABEL / "seed0"
    found = record.read(folder / "record.json")
    assert found.dataset.sizes == sizes
    assert {key: metric.samples for key, metric in found.metrics.items()} == samples
    if "top1" in samples:
        kept = folder / "correct.npz"
        assert found.outputs == {"correct.npz": files.sha256_of(kept)}
        by_sample = dict(np.load(kept))
        assert by_sample.pop("samples").tolist() == list(range(samples["top1"]))
        for key, right in by_sample.items():
            assert len(right) == samples[key]
            assert 100 * right.sum() / len(right) == found.metrics[key].value


TWO_PROCESSES = """
import sys
from mmengine.config import Config
from core import configs
original, protocol = configs.config, Config({protocol!r})
def config(name):
    found = original(name)
    found.sizes = Config(dict(sizes={sizes!r}[name])).sizes
    return found
configs.config, configs.read_protocol = config, lambda name: protocol
from downstream.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("words", "metric"),
    [(["detect"], "map"), (["instances"], "mask_ap"), (["segment"], "miou")],
)
def test_two_processes_share_one_run(
    words: list[str], metric: str, data_root: Path, tiny_protocol: Config, tmp_path: Path
) -> None:
    """torchrun with gloo on CPUs: one record, every test image counted once, batch divided."""
    tiny_protocol.segment.update(total_batch_size=4)
    sizes = {
        f"demo/{name}": dict(configs.config(f"demo/{name}").sizes)
        for name in ("voc", "coco", "ade20k")
    }
    script = tmp_path / "two.py"
    protocol = tiny_protocol._cfg_dict.to_dict()
    script.write_text(TWO_PROCESSES.format(protocol=protocol, sizes=sizes))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    root = str(Path(__file__).parents[2])

    done = subprocess.run(
        [sys.executable, *launch, *_argv(words, data_root, tmp_path / "runs")],
        capture_output=True,
        text=True,
        env=os.environ
        | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path)},
        cwd=tmp_path,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "YAPF").exists(), "two processes read each other's half-written cache"
    assert done.stdout.count("epoch 1 of 1") == 1, "only the first process reports"
    folder = tmp_path / "runs" / "demo" / words[0] / LABEL / "seed0"
    found = record.read(folder / "record.json")
    assert found.cost.devices == 2
    assert found.metrics[metric].samples == 3
    total, per_device = {"detect": (2, 1), "instances": (2, 1), "segment": (4, 2)}[words[0]]
    assert found.config["train_dataloader"]["batch_size"] == per_device
    assert found.config["optim_wrapper"]["optimizer"]["lr"] == pytest.approx(0.01)
    assert total == 2 * per_device
    if words == ["segment"]:
        _assert_label_maps_agree_with_confusions(folder)


def _assert_label_maps_agree_with_confusions(folder: Path) -> None:
    """Both files hold the images of all processes."""
    maps = label_maps.load(folder / "label_maps.npz")
    counted = segmentation.load(folder / "confusion.npz")
    assert maps.images == counted.images
    for index, (truth, guess) in enumerate(zip(maps.truth, maps.guess, strict=True)):
        confusion = counted.confusions[index]
        true, predicted = np.divmod(confusion.cells, len(counted.classes))
        assert (truth == guess).sum() == confusion.pixels[true == predicted].sum()
        assert (truth != 255).sum() == confusion.pixels.sum()
