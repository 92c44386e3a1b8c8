"""The tasks' configs: protocol sizes, single settings, limits, fingerprints."""

from __future__ import annotations

import inspect
import re
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mmcv.ops import RoIAlign
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS

from core import configs
from core.errors import InputError
from core.runtime import tracking
from downstream import task
from downstream.openmmlab import runner
from downstream.openmmlab.runner import OWN_KEYS, RUNNER_KEYS

CONFIGS = [("detect", "c4"), ("detect", "fpn"), ("segment", "fcn")]
PROTOCOLS = configs.names("protocol")
PAPERS: Mapping[str, Any] = {}  # a protocol that changes nothing: the papers' sizes
# variables that are only used while a config is read
READ_TIME_ONLY = {"scale", "base_size", "crop_size", "norm_cfg", "data_preprocessor"}


def _read(folder: str, name: str, overlay: Mapping[str, Any] = PAPERS, world: int = 1) -> Config:
    return runner.read_config(folder, name, overlay, world)


def _transform(pipeline: list, kind: str) -> ConfigDict:
    (found,) = (t for t in pipeline if t.type == kind)
    return found


# ---- sizes that a protocol sets


def test_detection_uses_the_protocols_size():
    overlay = {
        "train_pipeline.2.scale": (160, 128),
        "test_pipeline.1.scale": (160, 128),
        "train_cfg.max_epochs": 10,
        "param_scheduler.0.end": 70,
        "param_scheduler.1.milestones": [7],
        "total_batch_size": 8,
        "optim_wrapper.optimizer.lr": 0.005,
        "model.train_cfg.rcnn.sampler.num": 32,
        "model.train_cfg.rpn_proposal.nms_pre": 900,
        "model.train_cfg.rpn_proposal.max_per_img": 80,
        "model.test_cfg.rpn.nms_pre": 900,
        "model.test_cfg.rpn.max_per_img": 80,
    }
    cfg = _read("detect", "c4", overlay)
    for pipeline in (cfg.train_pipeline, cfg.test_pipeline):
        assert _transform(pipeline, "Resize").scale == (160, 128)
    warmup, steps = cfg.param_scheduler
    assert (warmup.type, warmup.begin, warmup.end) == ("LinearLR", 0, 70)
    assert steps.milestones == [7]
    assert cfg.train_cfg.max_epochs == 10
    assert cfg.train_cfg.val_interval > 10, "only the last epoch is tested"
    assert cfg.train_dataloader.batch_size == cfg.total_batch_size == 8
    # 8 is the batch that the protocol's rate is meant for: no further scaling
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(5 * 0.001)
    assert cfg.model.train_cfg.rcnn.sampler.num == 32
    for proposals in (cfg.model.train_cfg.rpn_proposal, cfg.model.test_cfg.rpn):
        assert (proposals.nms_pre, proposals.max_per_img) == (900, 80)


@pytest.mark.parametrize("detector", ["c4", "fpn"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_milestone_stays_at_14_of_20(protocol: str, detector: str):
    cfg = _read("detect", detector, configs.read_protocol(protocol).detect)
    assert cfg.param_scheduler[1].milestones == [round(14 * cfg.train_cfg.max_epochs / 20)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_learning_rate_falls_to_the_last_epoch(protocol: str):
    cfg = _read("segment", "fcn", configs.read_protocol(protocol).segment)
    assert cfg.param_scheduler[0].end == cfg.train_cfg.max_epochs


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("folder", "name"), CONFIGS)
def test_training_and_test_have_one_size(folder: str, name: str, protocol: str):
    cfg = _read(folder, name, configs.read_protocol(protocol)[folder])
    kind = {"detect": "Resize", "segment": "RandomResize"}[folder]
    trained, tested = _transform(cfg.train_pipeline, kind), _transform(cfg.test_pipeline, "Resize")
    assert trained.scale == tested.scale
    if folder == "segment":
        assert trained.scale[0] == 8 * trained.scale[1], "the longer side does not limit"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_training_and_test_have_as_many_proposals(protocol: str):
    overlay = configs.read_protocol(protocol).detect
    for key in ("nms_pre", "max_per_img"):
        trained = overlay.get(f"model.train_cfg.rpn_proposal.{key}")
        assert trained == overlay.get(f"model.test_cfg.rpn.{key}")


def test_segmentation_uses_the_protocols_size():
    overlay = {
        "train_pipeline.2.scale": (1024, 128),
        "train_pipeline.3.crop_size": (112, 96),
        "test_pipeline.1.scale": (1024, 128),
        "train_cfg.max_epochs": 6,
        "param_scheduler.0.end": 6,
        "total_batch_size": 8,
        "optim_wrapper.optimizer.lr": 0.02,
        "multi_scale": (1,),
    }
    cfg = _read("segment", "fcn", overlay)
    assert cfg.multi_scale == (1,)
    # the longer side does not limit
    assert _transform(cfg.train_pipeline, "RandomResize").scale == (1024, 128)
    assert _transform(cfg.test_pipeline, "Resize").scale == (1024, 128)
    assert _transform(cfg.train_pipeline, "RandomCrop").crop_size == (112, 96)
    assert cfg.param_scheduler[0].end == cfg.train_cfg.max_epochs == 6
    assert cfg.train_dataloader.batch_size == 8
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(2 * 0.01)


@pytest.mark.parametrize(
    ("folder", "name", "world", "per_device", "lr"),
    [
        # Faster R-CNN: 0.001 for a batch of 4 images
        ("detect", "c4", 1, 4, 0.001),
        ("detect", "c4", 2, 2, 0.001),
        ("detect", "c4", 3, 1, 0.00075),
        ("detect", "c4", 4, 1, 0.001),
        ("detect", "c4", 8, 1, 0.002),
        # FCN: 0.01 for a batch of 16 crops
        ("segment", "fcn", 1, 16, 0.01),
        ("segment", "fcn", 2, 8, 0.01),
        ("segment", "fcn", 8, 2, 0.01),
        ("segment", "fcn", 32, 1, 0.02),
    ],
)
def test_the_batch_is_divided(folder: str, name: str, world: int, per_device: int, lr: float):
    cfg = _read(folder, name, world=world)
    assert cfg.train_dataloader.batch_size == per_device
    assert cfg.total_batch_size == per_device * world
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(lr, rel=1e-12)


def test_a_protocols_batch_is_divided_too():
    cfg = _read(
        *("detect", "c4"), {"total_batch_size": 8, "optim_wrapper.optimizer.lr": 0.005}, world=2
    )
    assert (cfg.train_dataloader.batch_size, cfg.total_batch_size) == (4, 8)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(0.005)


def test_additions_come_before_the_protocols_section():
    additions = [
        dict(train_cfg=dict(max_epochs=12), model=dict(rpn_head=dict(feat_channels=64))),
        dict(train_cfg=dict(max_epochs=13)),
    ]
    overlay = {"model.rpn_head.feat_channels": 32}
    cfg = runner.read_config("detect", "c4", overlay, 1, additions)
    assert (cfg.train_cfg.max_epochs, cfg.model.rpn_head.feat_channels) == (13, 32)
    assert cfg.train_cfg.val_interval == 14
    assert cfg.model.rpn_head.in_channels == 1024, "what they do not name stays"


def test_an_unknown_detector_is_offered_the_nearest():
    with pytest.raises(InputError, match=r"unknown detector 'fpm': did you mean fpn"):
        _read("detect", "fpm")
    with pytest.raises(InputError, match="unknown detector '_common'"):
        _read("detect", "_common")


def _value(cfg: Config, key: str) -> Any:
    found: Any = cfg
    for part in key.split("."):
        found = found[int(part) if part.isdigit() else part]
    return found


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("folder", "name"), CONFIGS)
def test_every_size_of_a_protocol_is_in_the_config_and_used(folder: str, name: str, protocol: str):
    papers, overlay = _read(folder, name), configs.read_protocol(protocol)[folder]
    cfg = _read(folder, name, overlay)
    for key, value in overlay.items():
        _value(papers, key)  # it exists without the overlay
        assert _value(cfg, key) == value


@pytest.mark.parametrize(
    ("key", "value", "near"),
    [
        ("epochs", 1, ""),
        (
            "scale",
            (64, 48),
            "",
        ),  # only used while the config is read
        ("train_cfg.max_epoch", 1, "max_epochs"),
        ("train_pipeline.9.scale", (64, 48), ""),
        ("model.train_cfg.rpn_proposals.nms_pre", 9, "rpn_proposal"),
        ("param_scheduler.1.milestone", [1], "milestones"),
    ],
)
def test_a_size_that_is_not_in_the_config_is_refused(key: str, value: Any, near: str):
    for name in ("c4", "fpn"):
        with pytest.raises(InputError, match=rf"unknown option '?{re.escape(key)}.*{near}"):
            _read("detect", name, {key: value})


def test_the_papers_protocol_changes_nothing():
    settings = configs.read_protocol("paper")
    assert (settings.detect, settings.segment) == ({}, {})


# ---- every key is read


READ_BY_US = {"train_pipeline", "test_pipeline", "total_batch_size"}


@pytest.mark.parametrize(("folder", "name"), CONFIGS)
def test_top_level_keys_are_read(folder: str, name: str):
    assert set(_read(folder, name)) - {*RUNNER_KEYS, *OWN_KEYS} <= READ_BY_US | READ_TIME_ONLY


def _arguments(kind: str, scope: str) -> set[str]:
    """Every argument of a registered class and of its parents."""
    with MODELS.switch_scope_and_registry(scope) as registry:
        found = RoIAlign if kind == "RoIAlign" else registry.get(kind)
    names: set[str] = set()
    for cls in found.__mro__ if found else ():  # samplers are of other registries
        if "__init__" in vars(cls):
            names |= set(inspect.signature(vars(cls)["__init__"]).parameters)
    return names


def _keys_nobody_knows(child: dict, base: dict, scope: str, place: str = "model") -> list[str]:
    """Keys of a child config that are neither in its base nor arguments of what they configure."""
    if child.get("_delete_"):
        known = _arguments(child["type"], scope) | {"_delete_", "type"}
        return [f"{place}.{key}" for key in child if key not in known]
    arguments = _arguments(base["type"], scope) if "type" in base else set()
    found = []
    for key, value in child.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            found += _keys_nobody_knows(value, base[key], scope, f"{place}.{key}")
        elif isinstance(value, dict) and value.get("_delete_"):
            found += _keys_nobody_knows(value, {}, scope, f"{place}.{key}")
        elif key not in base and key not in arguments:
            found.append(f"{place}.{key}")
    return found


@pytest.mark.parametrize(("folder", "name"), CONFIGS)
def test_what_we_set_is_in_the_base_or_an_argument(folder: str, name: str, tmp_path: Path):
    own = runpy.run_path(str(configs.CONFIGS / folder / f"{name}.py"))
    stock = own["_base_"] if isinstance(own["_base_"], str) else own["_base_"][0]
    (tmp_path / "stock.py").write_text(f"_base_ = {stock!r}\n")
    base = Config.fromfile(str(tmp_path / "stock.py")).model
    scope = stock.partition("::")[0]
    assert _keys_nobody_knows(own["model"], base, scope) == []
    wrong = own["model"] | dict(tset_cfg=dict(rpn=1), backbone=dict(frozen=4))
    assert _keys_nobody_knows(wrong, base, scope), "the check finds wrong keys"


# ---- single settings


def test_a_misspelt_setting_is_offered_the_nearest():
    cfg = _read("detect", "c4")
    for word, near in (
        ("optim_wrapper.optimzer.lr=1", "optimizer"),
        ("optim_wrapper.optimizer.weight_decey=1", "weight_decay"),
        ("trian_cfg.max_epochs=1", "train_cfg"),
        ("param_scheduler.0.strat_factor=1", "start_factor"),
    ):
        with pytest.raises(InputError, match=rf"unknown option .*did you mean .*{near}"):
            runner.override(cfg, [word], RUNNER_KEYS)


def test_a_number_is_an_index_into_a_list():
    cfg = _read("detect", "c4")
    words = ["param_scheduler.1.milestones=[3, 5]", "train_cfg.max_epochs=6"]
    runner.override(cfg, [*words, "model.rpn_head.loss_cls.loss_weight=0.5"])
    assert cfg.param_scheduler[1].milestones == [3, 5]
    assert cfg.param_scheduler[0].type == "LinearLR"
    assert cfg.train_cfg.max_epochs == 6
    assert cfg.model.rpn_head.loss_cls.loss_weight == 0.5


@pytest.mark.parametrize("word", ["param_scheduler.7.gamma=1", "train_cfg.max_epochs.more=1"])
def test_settings_that_do_not_exist(word: str):
    with pytest.raises(InputError, match="unknown option"):
        runner.override(_read("detect", "c4"), [word])


@pytest.mark.parametrize(
    ("limit", "parts", "shares"),
    [
        (6, [10], [6]),
        (6, [5, 5], [3, 3]),
        (7, [5, 5], [4, 3]),
        # VOC's: 5,011 and 11,540 of 16,551
        (500, [5_011, 11_540], [151, 349]),
        (1, [9, 1], [1]),
        (1, [1, 9], [1]),
        (10, [5, 5], [None, None]),
        (None, [5, 5], [None, None]),
    ],
)
def test_each_part_gives_its_share_of_a_limit(limit: int | None, parts: list, shares: list):
    datasets = [dict(type="A", ann_file=str(size)) for size in parts]
    cfg = Config(dict(limit=limit, train_dataloader=dict(dataset=dict(datasets=datasets))))
    sizes = runner.limit_training(cfg, dict(train=sum(parts), test=5), "train", parts)
    assert [part.get("indices") for part in cfg.train_dataloader.dataset.datasets] == shares
    assert sizes == dict(train=limit or sum(parts), test=5)


def test_a_limit_on_a_dataset_of_one_part():
    cfg = Config(dict(limit=6, train_dataloader=dict(dataset=dict(type="A"))))
    assert runner.limit_training(cfg, dict(train=10), "train") == dict(train=6)
    assert cfg.train_dataloader.dataset.indices == 6


def test_a_limit_of_zero_is_refused():
    cfg = Config(dict(limit=0, train_dataloader=dict(dataset=dict(type="A"))))
    with pytest.raises(InputError, match="limit=0: expected at least 1"):
        runner.limit_training(cfg, dict(train=10), "train")


def test_only_what_a_task_reads_may_be_set():
    cfg = _read("detect", "c4")
    with pytest.raises(InputError, match="unknown option 'scale'"):
        runner.override(cfg, ["scale=5"], RUNNER_KEYS)
    # without a list, every setting may be
    runner.override(cfg, ["total_batch_size=5"])
    assert cfg.total_batch_size == 5


def test_a_limit_beyond_the_training_set_is_none():
    cfg = Config(dict(limit=50, train_dataloader=dict(dataset=dict(type="A"))))
    assert runner.limit_training(cfg, dict(train=10, test=5), "train") == dict(train=10, test=5)
    assert "indices" not in cfg.train_dataloader.dataset


def test_recorded_settings_hold_no_paths():
    cfg = Config(
        dict(model=dict(checkpoint="/a/b"), parts=[dict(data_root="/c", lr=1, size=(2, 3))])
    )
    found = task.without_paths(task.to_json(cfg._cfg_dict))
    assert found == {"model": {}, "parts": [{"lr": 1, "size": [2, 3]}]}


@pytest.mark.parametrize("suffix", ["txt", "xml", "json"])
def test_a_fingerprint_depends_on_names_sizes_and_text(suffix: str, tmp_path: Path):
    image, text = tmp_path / "a.jpg", tmp_path / f"a.{suffix}"
    image.write_bytes(b"1234")
    text.write_text("one")
    files = [image, text]
    first = runner.fingerprint(files, tmp_path)
    assert runner.fingerprint(files, tmp_path) == first
    text.write_text("two")
    second = runner.fingerprint(files, tmp_path)
    image.write_bytes(b"12345")
    third = runner.fingerprint(files, tmp_path)
    moved = tmp_path / "b.jpg"
    image.rename(moved)
    fourth = runner.fingerprint([moved, text], tmp_path)
    assert len({first, second, third, fourth}) == 4


# ---- the Runner's config


def test_a_runner_configs_text_parses_again_and_is_formatted_without_yapf(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(sys.modules, "yapf", None)  # importing it raises now
    values = dict(model=dict(type="A", sizes=(1, 2), path="it's"), none=None, rates=[0.1, True])
    text = tracking.PlainConfig(values).pretty_text
    assert Config.fromstring(text, ".py").to_dict() == values
