"""`evaluate` against timm's validation, image by image; labels and prediction files by hand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm.data
import torch
from mmengine.config import Config
from PIL import Image
from timm.utils import AverageMeter
from timm.utils import accuracy as timm_accuracy
from torch import nn

from core import configs, record
from core.errors import InputError
from core.files import sha256_of
from downstream.__main__ import main
from downstream.backbones import timm_features
from downstream.probes import resolution_sweep
from pretrain.__main__ import main as pretrain
from pretrain.images import datasets, splits, transforms
from pretrain.model import architectures

ARCH, MEAN, STD = "resnet10d_narrow", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = 12
pytestmark = pytest.mark.usefixtures("clean_environment")


def photo(path: Path, seed: int) -> None:
    """An image of odd size with large patches of colour, in colours of several kinds."""
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.integers(41, 140, 2))
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    image = small.resize((width, height), Image.Resampling.BICUBIC)
    mode = ("RGB", "RGB", "L", "CMYK")[seed % 4]
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert(mode).save(path, format="JPEG", quality=85)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ImageNet-V2's layout: 12 classes, named by their numbers, of 4 images each."""
    root = tmp_path_factory.mktemp("photos") / "val"
    for i in range(4 * CLASSES):
        photo(root / str(i % CLASSES) / f"{i:03}.jpeg", i)
    return root


@pytest.fixture
def weights(exchange: Callable[..., Path], randomised: Callable, photos: Path) -> Path:
    """A model whose predictions vary: its classifier is centred on the images' features."""
    torch.manual_seed(3)
    model = randomised(architectures.create(ARCH, CLASSES), 3).eval()
    transform = timm.data.create_transform((3, 64, 64), mean=MEAN, std=STD)
    files = photos.glob("*/*.jpeg")
    seen = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
    with torch.no_grad():
        pooled = model.forward_head(model.forward_features(seen), pre_logits=True)
        model.fc.weight.normal_().div_(pooled.std(dim=0) + 1e-6)
        model.fc.bias.copy_(-model.fc.weight @ pooled.mean(dim=0))
    tensors = model.state_dict()
    return exchange(ARCH, classes=CLASSES, tensors=tensors, dataset="", interpolation="bicubic")


def model_of(path: Path, raw: Callable, arch: str = ARCH) -> nn.Module:
    model = architectures.create(arch, CLASSES)
    model.load_state_dict(raw(path)[0])
    return model.eval()


@torch.no_grad()
def logits_by_timm(model: nn.Module, files: list[Path], side: int, ratio: float) -> torch.Tensor:
    """Logits of each image with timm's transform, one image at a time."""
    transform = timm.data.create_transform(
        (3, side, side), interpolation="bicubic", mean=MEAN, std=STD, crop_pct=ratio
    )
    images = [transform(Image.open(file).convert("RGB"))[None] for file in files]
    return torch.cat([model(image) for image in images])


def top5_by_timm(model: nn.Module, files: list[Path], side: int, ratio: float) -> np.ndarray:
    return logits_by_timm(model, files, side, ratio).topk(5).indices.numpy()


def gaps_by_timm(model: nn.Module, files: list[Path], side: int, ratio: float) -> np.ndarray:
    """The largest logit of each image minus the mean of the others."""
    ranked = np.sort(logits_by_timm(model, files, side, ratio).numpy(), axis=1)
    return ranked[:, -1] - ranked[:, :-1].mean(axis=1)


@torch.no_grad()
def validated_by_timm(model: nn.Module, root: Path, side: int, ratio: float) -> list[float]:
    """As timm's validate.py has it: dataset, loader, accuracy, meters. Top-1, top-5 and a count."""
    loader = timm.data.create_loader(
        timm.data.create_dataset("", root=str(root)),
        (3, side, side),
        batch_size=7,
        **dict(interpolation="bicubic", mean=MEAN, std=STD, crop_pct=ratio, crop_mode="center"),
        **dict(num_workers=0, use_prefetcher=False, persistent_workers=False),
    )
    meters = AverageMeter(), AverageMeter()
    for images, labels in loader:
        for meter, value in zip(meters, timm_accuracy(model(images), labels, (1, 5)), strict=True):
            meter.update(value.item(), len(images))
    return [*(float(meter.avg) for meter in meters), meters[0].count]


def command(runs: Path, *words: Any, spec: Path | None = None) -> int:
    backbone_ = [] if spec is None else ["--backbone", f"file:{spec}"]
    return main([*map(str, ["evaluate", "--runs", runs, "--workers", 0, *words]), *backbone_])


def run(runs: Path, *words: Any, spec: Path | None = None) -> record.Record:
    """Runs the command, and returns its record."""
    assert command(runs, *words, spec=spec) == 0
    (path,) = runs.glob("*/evaluate*/*/seed0/record.json")
    return record.read(path)


# ---- the geometry, and timm's validation


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("ratio", [0.875, 0.9, 0.93, 0.95, 1.0])
def test_the_pixels_are_timms(ratio: float, interpolation: str):
    rng = np.random.default_rng(0)
    for width, height in ((97, 61), (64, 64), (33, 200), (255, 257), (501, 333)):
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for side in (32, 73, 160, 224):
            transform = timm.data.create_transform(
                (3, side, side), interpolation=interpolation, crop_pct=ratio, normalize=False
            )
            found = transforms.for_evaluation(image, side, ratio, interpolation)
            assert torch.equal(found, torch.as_tensor(transform(image)))


def test_accuracy_is_timms_to_the_last_image(
    photos: Path, weights: Path, raw: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sides, ratios = (33, 47, 64), (0.875, 0.95, 1.0)
    decoded: list[int] = []
    source = datasets.ImageSet.source
    monkeypatch.setattr(
        datasets.ImageSet, "source", lambda self, i: decoded.append(i) or source(self, i)
    )
    words = ["--images", photos, "--resolutions", *sides, "--crop-ratios", *ratios]
    found = run(tmp_path / "runs", *words, spec=weights)
    assert sorted(decoded) == list(range(4 * CLASSES)), "each decoded once"

    images, model = datasets.load_folder(photos), model_of(weights, raw)
    files = [images.root / file for file in images.files]
    wanted = [resolution_sweep.Geometry(side, ratio) for side in sides for ratio in ratios]
    device = torch.device("cpu")
    predicted = resolution_sweep.predict(timm_features.load(weights), images, wanted, 0, device)
    assert not predicted.problems
    top = predicted.top
    assert len({top[:, i].tobytes() for i in range(9)}) == 9, "geometry matters here"
    for i, (side, ratio) in enumerate((s, r) for s in sides for r in ratios):
        assert np.array_equal(top[:, i], top5_by_timm(model, files, side, ratio))
        assert len(set(top[:, i, 0])) > 5
        top1, top5, count = validated_by_timm(model, photos, side, ratio)
        metrics = [found.metrics[f"{name}@{side}/{ratio}"] for name in ("top1", "top5")]
        assert [m.value for m in metrics] == pytest.approx([top1, top5], abs=1e-4)
        assert {m.samples for m in metrics} == {count} == {len(files)}
        assert f"shorter side {int(side / ratio)}, central crop {side}" in metrics[0].detail
    assert found.metrics["top1"] == found.metrics["top1@64/0.875"], "the checkpoint's own"
    assert len(found.metrics) == 2 * 9 + 2
    gaps = np.load(next((tmp_path / "runs").rglob("gaps.npz")))["gaps"]
    expected = gaps_by_timm(model, files, 64, 0.875)
    np.testing.assert_allclose(gaps, expected, rtol=1e-3, atol=1e-3)
    assert (found.stage, found.task) == ("evaluate", "evaluate-images-val")
    assert found.choices.images == str(photos)
    assert str(photos) not in found.model_dump_json(exclude={"argv", "choices"})


def test_the_geometry_is_the_checkpoints_unless_asked(
    photos: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["--images", photos]
    own = run(tmp_path / "a", *words, spec=weights)
    assert set(own.metrics) == {"top1", "top5", "top1@64/0.875", "top5@64/0.875"}
    (folder,) = (path.parent for path in (tmp_path / "a").rglob("record.json"))
    kept = {name: sha256_of(folder / name) for name in ("correct.npz", "gaps.npz")}
    assert own.outputs == kept
    assert "crop ratio 0.875" in capsys.readouterr().out
    other = run(tmp_path / "a", *words, "--resolutions", 48, 32, 48, spec=weights)
    assert set(other.metrics) == {f"top{k}@{side}/0.875" for k in (1, 5) for side in (32, 48)}
    assert other.outputs == {}, "of no other geometry"
    out = capsys.readouterr().out
    cells = [f"{other.metrics[f'top{k}@32/0.875'].value:.2f}" for k in (1, 5)]
    assert re.search(rf"^ +32 +{cells[0]} / +{cells[1]}$", out, re.MULTILINE)
    assert f"in % of {4 * CLASSES} images" in out
    assert len(list(tmp_path.rglob("seed0.1"))) == 1, "the first is kept"


def test_a_transformer_at_another_resolution(
    photos: Path, exchange: Callable, raw: Callable, tmp_path: Path, one_line: Callable
):
    arch = "vit_tiny_patch16_224"
    path = exchange(arch, classes=CLASSES, dataset="", resolution=224, interpolation="bicubic")
    words = ["--images", photos, "--limit", 6, "--resolutions"]
    found = run(tmp_path, *words, 96, spec=path)
    model = timm.create_model(arch, num_classes=CLASSES, dynamic_img_size=True).eval()
    model.load_state_dict(raw(path)[0])
    images = splits.random_subset(datasets.load_folder(photos), 6, 0)
    top = top5_by_timm(model, [images.root / file for file in images.files], 96, 0.875)
    right = 100 * np.mean(top[:, 0] == images.labels)
    assert found.metrics["top1@96/0.875"].value == pytest.approx(right)
    assert found.task == "evaluate-images-val-limit6"
    assert command(tmp_path, *words, 100, spec=path) == 2
    assert f"{arch} at 100/0.875" in one_line()


def test_the_demos_evaluation_is_its_trainings(
    rendered: Path, tiny_protocol: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shrink(monkeypatch, {"demo/imagenet": dict(sizes=dict(train=40, val=40))})
    tiny_protocol.pretrain.epochs = 1 / 60
    where = ["--data", str(rendered), "--runs", str(tmp_path), "--workers", "0"]
    assert pretrain(["d-efficient", *where]) == 0
    (path,) = tmp_path.glob("demo/pretrain/d-efficient/seed0/record.json")
    trained = record.read(path)
    found = run(tmp_path, "--variant", "d-efficient", "--data", rendered)
    assert found.task == "evaluate"
    assert found.backbone.sha256 == trained.backbone.sha256
    tasks = ("pretrain", "evaluate")
    kept = [np.load(tmp_path / f"demo/{it}/d-efficient/seed0/gaps.npz")["gaps"] for it in tasks]
    assert kept[0].shape == (40,)
    np.testing.assert_allclose(*kept, rtol=1e-4, atol=1e-4)
    for name in ("top1", "top5"):
        assert found.metrics[name].value == trained.metrics[name].value
        assert found.metrics[name].samples == trained.metrics[name].samples == 40
    assert found.metrics["top5"].value > 0


# ---- the labels of each set


def shrink(monkeypatch: pytest.MonkeyPatch, changes: dict[str, dict[str, Any]]) -> None:
    """Sets the sizes in datasets' configs to the test data's."""
    original = configs.config

    def config(name: str) -> Config:
        found = original(name)
        for key, value in changes.get(name, {}).items():
            found[key] = value
        return found

    monkeypatch.setattr(configs, "config", config)


def test_the_reassessed_labels_as_published(tmp_path: Path):
    published = resources.files("timm.data") / "_info" / "imagenet_real_labels.json"
    (tmp_path / "real.json").write_bytes(published.read_bytes())
    labels = json.loads(published.read_bytes())
    numbers = np.random.default_rng(0).permutation(50_000)
    files = tuple(f"val/n{n % 1000:08}/ILSVRC2012_val_{n + 1:08}.JPEG" for n in numbers)
    images = datasets.ImageSet(
        "imagenet-real", "imagenet-real", "val", (), np.zeros(50_000, np.int64), tmp_path, files
    )
    found = datasets.correct_classes(images)
    assert int((found[:, 0] >= 0).sum()) == 46_837, "the paper's number of images with labels"
    for row, number in zip(found[:2000], numbers[:2000], strict=True):
        assert row[row >= 0].tolist() == labels[number]
    (tmp_path / "real.json").write_text(json.dumps(labels[:-1]))
    with pytest.raises(InputError, match=r"val_00000001.JPEG to 00050000"):
        datasets.correct_classes(images)


def test_reassessed_labels_are_timms(
    weights: Path, raw: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    n, rng = 36, np.random.default_rng(5)
    shrink(monkeypatch, {"imagenet-real": dict(sizes=dict(val=n), classes=CLASSES)})
    root = tmp_path / "data" / "imagenet"
    for i in rng.permutation(n):
        photo(root / "val" / f"n{i % CLASSES:08}" / f"ILSVRC2012_val_{i + 1:08}.JPEG", int(i))
    labels = [rng.permutation(CLASSES)[: rng.integers(0, 4)].tolist() for _ in range(n)]
    (root / "real.json").write_text(json.dumps(labels))
    words = ["--protocol", "paper", "--dataset", "imagenet-real", "--data", tmp_path / "data"]
    found = run(tmp_path / "runs", *words, spec=weights)

    files = sorted(root.glob("val/*/*.JPEG"))
    theirs = timm.data.RealLabelsImagenet(list(map(str, files)), root / "real.json")
    model = model_of(weights, raw)
    ranks = torch.from_numpy(top5_by_timm(model, files, 64, 0.875))
    theirs.add_result(
        torch.zeros(n, CLASSES).scatter(1, ranks, torch.arange(5, 0, -1.0).expand(n, 5))
    )
    assert found.metrics["top1"].value == pytest.approx(theirs.get_accuracy(1))
    assert found.metrics["top5"].value == pytest.approx(theirs.get_accuracy(5))
    assert found.metrics["top1"].samples == sum(map(bool, labels)) < n
    assert "any of its labels" in found.metrics["top1"].detail
    assert found.dataset.mirrors == "imagenet-real"


def test_imagenet_v2s_folders_are_numbers(
    photos: Path, weights: Path, raw: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    split = configs.config("imagenet-v2").splits.test
    shrink(monkeypatch, {"imagenet-v2": dict(sizes={split: 4 * CLASSES}, classes=CLASSES)})
    shutil.copytree(photos, tmp_path / "data" / "imagenet-v2" / split)
    words = ["--protocol", "paper", "--dataset", "imagenet-v2", "--data", tmp_path / "data"]
    found = run(tmp_path / "runs", *words, spec=weights)
    images = datasets.load("imagenet-v2", tmp_path / "data", "test")
    assert images.classes == tuple(map(str, range(CLASSES))), "10 after 9, not after 1"
    files = [images.root / file for file in images.files]
    assert [int(file.parent.name) for file in files] == images.labels.tolist()
    top = top5_by_timm(model_of(weights, raw), files, 64, 0.875)
    folders = np.array([int(file.parent.name) for file in files])
    assert found.metrics["top1"].value == pytest.approx(100 * np.mean(top[:, 0] == folders))
    hits = (top == folders[:, None]).any(axis=1)
    assert found.metrics["top5"].value == pytest.approx(100 * np.mean(hits))
    with pytest.raises(InputError, match="imagenet-v2 is for evaluation only: it has no train"):
        datasets.load("imagenet-v2", tmp_path / "data", "train")


def test_files_that_cannot_be_read_do_not_count(
    photos: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = shutil.copytree(photos, tmp_path / "val")
    whole = run(tmp_path / "a", "--images", root, spec=weights)
    (root / "0" / "000.jpeg").write_bytes(b"no image")
    cut = root / "10" / "022.jpeg"
    cut.write_bytes(cut.read_bytes()[:400])
    found = run(tmp_path / "b", "--images", root, spec=weights)
    assert found.metrics["top1"].samples == whole.metrics["top1"].samples - 2
    before, after = (next((tmp_path / k).rglob("gaps.npz")) for k in "ab")
    places = np.load(after.with_name("correct.npz"))["samples"]
    assert len(places) == 4 * CLASSES - 2
    expected = np.load(before)["gaps"][places]
    np.testing.assert_allclose(np.load(after)["gaps"], expected, rtol=1e-4, atol=1e-4)
    assert found.dataset.sizes == {"val": 4 * CLASSES}
    (listed,) = (tmp_path / "b").rglob("unreadable.tsv")
    assert [line.split("\t")[0] for line in listed.read_text().splitlines()] == [
        str(root / "0" / "000.jpeg"),
        str(cut),
    ]
    assert f"{cut}: not a readable image" in capsys.readouterr().out


# ---- predictions for Places365's server


@pytest.fixture
def places(rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo's data; its Places365 has 12 categories, and here nine images without labels."""
    about = dict(folder="test_256", listing="places365_test.txt", size=9)
    sizes = dict(sizes=dict(train=12, val=12), unlabelled=Config(about)._cfg_dict)
    cifar = dict(sizes=dict(train=40, test=20))
    shrink(monkeypatch, {"demo/places365": sizes, "demo/cifar10": cifar})
    for name in ("places365_standard", "cifar-10-batches-py"):
        shutil.copytree(rendered / "demo" / name, tmp_path / "demo" / name)
    root = tmp_path / "demo" / "places365_standard"
    for i in range(9):
        photo(root / "test_256" / f"Places365_test_{i + 1:08}.jpg", 50 + i)
    return root


@pytest.mark.parametrize("listed", [False, True])
def test_predictions_as_the_server_takes_them(
    listed: bool, places: Path, weights: Path, raw: Callable, tmp_path: Path, one_line: Callable
):
    files = sorted((places / "test_256").iterdir())
    if listed:
        files = files[::-1]
        (places / "places365_test.txt").write_text("".join(f"{f.name}\n" for f in files))
    out = tmp_path / "answers" / "test.txt"
    words = ["--dataset", "places365", "--data", tmp_path, "--predictions", out]
    found = run(tmp_path / "runs", *words, spec=weights)
    top = top5_by_timm(model_of(weights, raw), files, 64, 0.875)
    lines = out.read_text().splitlines()
    assert [line.split()[0] for line in lines] == [file.name for file in files]
    assert [list(map(int, line.split()[1:])) for line in lines] == top.tolist()
    assert out.read_text().endswith("\n")
    assert found.metrics["top1"].samples == 12, "its validation images are what is recorded"

    out.unlink()
    files[4].write_bytes(b"no image")
    again = [tmp_path / "runs", *words]
    assert command(*again, spec=weights) == 2, "not only if the evaluation is new"
    assert f"first {files[4]}" in one_line()
    assert not out.exists()
    files[4].unlink()
    if not listed:
        assert command(*again, spec=weights) == 2
        assert "8 images, 8 different ones, expected 9" in one_line()


# ---- several processes, and bad input


def test_two_processes_count_each_image_once(photos: Path, weights: Path, tmp_path: Path):
    alone = run(tmp_path / "one", "--images", photos, "--resolutions", 33, 64, spec=weights)
    argv = ["evaluate", "--images", photos, "--resolutions", 33, 64, "--workers", 0]
    argv += ["--backbone", f"file:{weights}", "--runs", tmp_path / "two"]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, "-m", "downstream", *map(str, argv)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "two").rglob("record.json")
    found = record.read(path)
    assert found.metrics == alone.metrics
    gaps = [np.load(next((tmp_path / k).rglob("gaps.npz")))["gaps"] for k in ("one", "two")]
    assert len(gaps[0]) == 4 * CLASSES
    np.testing.assert_allclose(gaps[1], gaps[0], rtol=1e-4, atol=1e-4)
    assert found.cost.devices == 2
    assert done.stdout.count("resolution") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--backbone", f"random:{ARCH}", "--images", "PHOTOS"],
            "random weights have no classifier",
        ),
        (["--dataset", "cifar10"], "its classifier has 12 classes, but demo/cifar10 has 10"),
        (["--images", "PHOTOS", "--dataset", "cifar10"], "not both"),
        (["--images", "PHOTOS/3"], "no images"),
        (["--images", "PHOTOS/none"], "no such folder"),
        (["--images", "PHOTOS", "--crop-ratios", "1.1"], "crop ratios in (0, 1]"),
        (["--images", "PHOTOS", "--resolutions", "0"], "expected resolutions of 1 or more"),
        (["--images", "PHOTOS", "--cfg-options", "a=1"], "evaluate does not accept --cfg-options"),
        (["--images", "PHOTOS", "--predictions", "x"], "needs a whole dataset"),
        (["--dataset", "cifar10", "--predictions", "x"], "no unlabelled test images"),
        (
            ["--dataset", "places365", "--predictions", "x", "--resolutions", "32", "64"],
            "one resolution and one crop ratio",
        ),
        (
            ["--dataset", "places365", "--variant", "mixup"],
            "make pretrain VARIANT=mixup DATASET=places365 PROTOCOL=demo SEED=0",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("places")
def test_refused(
    words: list[str], said: str, photos: Path, weights: Path, tmp_path: Path, one_line: Callable
):
    words = [word.replace("PHOTOS", str(photos)) for word in words]
    spec = None if {"--backbone", "--variant"} & set(words) else weights
    assert command(tmp_path / "runs", *words, "--data", tmp_path, spec=spec) == 2
    assert said in one_line()
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.usefixtures("places")
def test_a_classifier_of_another_set_with_as_many_classes(
    exchange: Callable, tmp_path: Path, one_line: Callable
):
    path = exchange(ARCH, classes=CLASSES, dataset="demo/imagenet")
    words = ["--dataset", "places365", "--data", tmp_path]
    assert command(tmp_path / "runs", *words, spec=path) == 2
    assert "its classes are those of demo/imagenet, but demo/places365 has" in one_line()
