"""`python -m pretrain`: records, exchange files, runs that are not repeated, and bad input."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from mmengine.config import Config
from PIL import Image

from core import record, runs
from pretrain.model.architectures import create
from pretrain.training import loop

ROOT = Path(__file__).resolve().parents[2]

Run = Callable[..., int]


def seed_folder(tmp_path: Path, recipe: str, seed: str = "seed0", task: str = "pretrain") -> Path:
    return tmp_path / "runs/demo" / task / recipe / seed


def sha256_of_weights(path: Path) -> str:
    """The documented hash, computed here: names in order, each with its type, shape and bytes."""
    digest = hashlib.sha256()
    with safetensors.safe_open(path, framework="pt") as file:
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name)
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error."""
    err = capsys.readouterr().err
    assert err.startswith("trickbench: ")
    assert err.count("\n") == 1
    return err


def test_a_run_leaves_a_record_and_an_exchange_file_that_belong_together(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("smooth") == 0

    out = seed_folder(tmp_path, "smooth")
    found = record.read(out / "record.json")
    assert (found.stage, found.task, found.recipe) == ("pretrain", "pretrain", "smooth")
    assert (found.protocol, found.seed, found.teacher_sha256) == ("demo", 0, None)
    assert found.dataset.name == "demo/imagenet"
    assert found.dataset.mirrors == "imagenet"
    assert found.dataset.sizes == {"train": 48, "val": 12}
    assert found.dataset.classes == 3
    assert found.backbone.source == "recipe:smooth"
    assert found.backbone.architecture == "resnet10d_narrow"
    assert found.backbone.pretrained
    assert set(found.metrics) == {"top1", "top5"}
    for metric in found.metrics.values():
        assert (metric.unit, metric.split, metric.samples) == ("%", "val", 12)
    assert found.metrics["top5"].value == 100
    assert found.config["epochs"] == 1
    assert found.config["label_smoothing"] == 0.1
    names = ("correct.npz", "history.json", "gaps.npz")
    by_hash = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names}
    assert found.outputs == by_hash
    assert np.load(out / "gaps.npz")["gaps"].shape == (12,)
    assert found.cost.devices == 1
    assert found.started < found.finished
    assert found.versions["torch"] == torch.__version__.partition("+")[0]

    exchange = out / "backbone.safetensors"
    assert found.backbone.sha256 == sha256_of_weights(exchange)
    with safetensors.safe_open(exchange, framework="pt") as file:
        hashes = ("format", "tensors_sha256", "metadata_sha256")
        about = {k: v for k, v in file.metadata().items() if k not in hashes}
    about = {key: json.loads(value) for key, value in about.items()}
    assert about["record_sha256"] == hashlib.sha256((out / "record.json").read_bytes()).hexdigest()
    assert (about["recipe"], about["protocol"], about["seed"]) == ("smooth", "demo", 0)
    assert (about["architecture"], about["classes"]) == ("resnet10d_narrow", 3)
    assert (about["resolution"], about["crop_ratio"]) == (32, 0.875)
    assert about["dataset"] == "demo/imagenet"
    assert about["pretrained"] is True
    assert about["mean"] == pytest.approx([123.68 / 255, 116.779 / 255, 103.939 / 255])
    assert "on 12 val images of demo/imagenet" in capsys.readouterr().out


def forbid_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("this run had been trained")

    monkeypatch.setattr(loop, "train_epoch", refuse)


def test_a_finished_run_is_not_run_again(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("smooth") == 0
    out = seed_folder(tmp_path, "smooth")
    before = contents(out)
    monkeypatch.setattr(loop, "fit", None)

    assert run("smooth") == 0

    assert ": finished" in capsys.readouterr().out
    assert contents(out) == before
    assert sorted(path.name for path in out.parent.iterdir()) == [".seed0.lock", "seed0"]


@pytest.mark.parametrize(
    "lost", [["backbone.safetensors"], ["backbone.safetensors", "record.json"]]
)
def test_a_run_that_died_while_writing_goes_on_without_training(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: list[str]
) -> None:
    assert run("smooth") == 0
    out = seed_folder(tmp_path, "smooth")
    weights = sha256_of_weights(out / "backbone.safetensors")
    metrics = record.read(out / "record.json").metrics
    for name in lost:
        (out / name).unlink()
    forbid_training(monkeypatch)

    assert run("smooth") == 0

    found = record.read(out / "record.json")
    assert found.backbone.sha256 == sha256_of_weights(out / "backbone.safetensors") == weights
    assert found.metrics == metrics


def test_a_changed_recipe_sets_the_old_run_aside_whole(
    run: Run, configs: Path, tmp_path: Path
) -> None:
    earlier = []
    for lr in (None, 0.01, 0.02):
        if lr is not None:
            earlier.append(contents(seed_folder(tmp_path, "smooth")))
            with (configs / "pretrain/smooth.py").open("a") as file:
                file.write(f"lr = {8 * lr}\n")
        assert run("smooth") == 0

    assert contents(seed_folder(tmp_path, "smooth", "seed0.1")) == earlier[0]
    assert contents(seed_folder(tmp_path, "smooth", "seed0.2")) == earlier[1]
    rates = [
        record.read(seed_folder(tmp_path, "smooth", seed) / "record.json").config["lr"]
        for seed in ("seed0", "seed0.1", "seed0.2")
    ]
    assert rates[0] == 0.02
    assert rates[2] == 0.01
    attempts, complaints = runs.read_attempts(tmp_path / "runs", "demo")
    (newest,) = runs.newest(attempts).values()
    assert newest.config["lr"] == 0.02, "what was set aside counts no more"
    assert complaints == []


def test_options_and_architectures_have_folders_of_their_own(run: Run, tmp_path: Path) -> None:
    """A run without options keeps its directory."""
    assert run("smooth") == 0
    before = contents(seed_folder(tmp_path, "smooth"))

    assert run("smooth", options=["zero_gamma=False", "lr=0.01"]) == 0
    assert run("smooth", "--arch", "resnet18d_narrow") == 0

    assert contents(seed_folder(tmp_path, "smooth")) == before
    labels = ["smooth", "smooth-lr-0.01-zero_gamma-False", "smooth-resnet18d_narrow"]
    assert sorted(p.name for p in (tmp_path / "runs/demo/pretrain").iterdir()) == labels
    found = [record.read(seed_folder(tmp_path, label) / "record.json") for label in labels]
    assert [r.recipe for r in found] == labels
    assert [r.config["lr"] for r in found] == [0.1 / 8, 0.01, 0.1 / 8]
    assert [r.config["zero_gamma"] for r in found] == [True, False, True]
    architectures = ["resnet10d_narrow", "resnet10d_narrow", "resnet18d_narrow"]
    assert [r.backbone.architecture for r in found] == architectures
    for label, architecture in zip(labels, architectures, strict=True):
        exchange = seed_folder(tmp_path, label) / "backbone.safetensors"
        with safetensors.safe_open(exchange, framework="pt") as file:
            about = file.metadata()
            names = set(file.keys())
        assert json.loads(about["architecture"]) == architecture
        assert json.loads(about["recipe"]) == label
        assert ("layer1.1.conv1.weight" in names) == (architecture == "resnet18d_narrow")


def test_changed_data_make_another_run(run: Run, tmp_path: Path) -> None:
    assert run("smooth") == 0
    image = tmp_path / "data/demo/imagenet/train/class1/3.JPEG"
    image.write_bytes(image.read_bytes() + b"\0")

    assert run("smooth") == 0

    folders = [seed_folder(tmp_path, "smooth", seed) for seed in ("seed0", "seed0.1")]
    one, two = (record.read(folder / "record.json").dataset.fingerprint for folder in folders)
    assert one != two


def test_a_debug_run_is_recorded_as_one(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("smooth", "--limit", "20") == 0

    # a debug run has its own directory and cannot be mistaken for a full run
    assert not seed_folder(tmp_path, "smooth").exists()
    folder = tmp_path / "runs/demo/pretrain-limit20/smooth/seed0"
    found = record.read(folder / "record.json")
    assert found.config["limit"] == 20
    assert found.dataset.sizes == {"train": 20, "val": 12}
    assert found.metrics["top1"].samples == 12
    assert "step 1 of 1" in capsys.readouterr().out, "one batch of 16"


def test_seeds_lie_side_by_side(run: Run, tmp_path: Path) -> None:
    assert run("smooth", "--seed", "0") == run("smooth", "--seed", "7") == 0

    found = [
        record.read(seed_folder(tmp_path, "smooth", f"seed{k}") / "record.json") for k in (0, 7)
    ]
    assert [r.seed for r in found] == [0, 7]
    assert found[0].backbone.sha256 != found[1].backbone.sha256


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_an_interrupted_command_resumes(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    """Stopped and saved within its second epoch, then resumed from there."""
    whole = loop.Trainer.train_step

    def be_stopped(trainer: loop.Trainer, batches: Sequence) -> torch.Tensor:
        if trainer.step == 3:
            os.kill(os.getpid(), number)
        return whole(trainer, batches)

    monkeypatch.setattr(loop.Trainer, "train_step", be_stopped)
    assert run("smooth", options=["epochs=2"]) == 75
    line = last_line(capsys)
    label = "smooth-epochs-2"
    assert line == (
        f"trickbench: pretrain/{label}: stopped by {number.name} after step 4 of 6; the state "
        f"is saved: run the same command again to resume\n"
    )
    assert not (seed_folder(tmp_path, label) / "record.json").exists()
    monkeypatch.setattr(loop.Trainer, "train_step", whole)

    assert run("smooth", options=["epochs=2"]) == 0

    out = capsys.readouterr().out
    assert "resume run" in out
    assert "epoch 1 of" not in out
    assert "epoch 2 of 2" in out
    resumed = sha256_of_weights(seed_folder(tmp_path, label) / "backbone.safetensors")
    (tmp_path / "runs").rename(tmp_path / "earlier")
    assert run("smooth", options=["epochs=2"]) == 0
    straight = sha256_of_weights(seed_folder(tmp_path, label) / "backbone.safetensors")
    assert resumed == straight


def test_states_are_saved_as_often_as_asked(run: Run, tmp_path: Path) -> None:
    """3 steps per epoch: saved after the 2nd and at the end; the newest two states are kept."""
    assert run("smooth", "--save-every", "2") == 0

    states = sorted(p.name for p in seed_folder(tmp_path, "smooth").glob("state-*"))
    assert states == ["state-000000002.pt", "state-000000003.pt"]


# --- teachers


def test_a_missing_teacher_names_the_command_that_trains_it(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("best", "--seed", "2") == 2

    line = last_line(capsys)
    assert "best distils from teacher-mixup" in line
    assert str(seed_folder(tmp_path, "teacher-mixup", "seed2") / "backbone.safetensors") in line
    assert "make pretrain VARIANT=teacher-mixup PROTOCOL=demo SEED=2" in line
    assert not (tmp_path / "runs").exists()


def test_a_student_records_its_teachers_weights(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("teacher") == 0
    teacher = seed_folder(tmp_path, "teacher") / "backbone.safetensors"
    assert record.read(teacher.parent / "record.json").backbone.architecture == "resnet18d_narrow"

    assert run("distill") == 0

    student = record.read(seed_folder(tmp_path, "distill") / "record.json")
    assert student.teacher_sha256 == sha256_of_weights(teacher)

    # another teacher makes another student
    assert run("teacher", "--seed", "1") == 0
    other = seed_folder(tmp_path, "teacher", "seed1") / "backbone.safetensors"
    assert run("distill", "--teacher", str(other)) == 0

    student = record.read(seed_folder(tmp_path, "distill") / "record.json")
    aside = record.read(seed_folder(tmp_path, "distill", "seed0.1") / "record.json")
    assert student.teacher_sha256 == sha256_of_weights(other)
    assert aside.teacher_sha256 == sha256_of_weights(teacher)
    assert student.backbone.sha256 != aside.backbone.sha256

    # a damaged teacher makes none
    capsys.readouterr()
    other.write_bytes(other.read_bytes()[:1000])
    assert run("distill", "--teacher", str(other)) == 2
    assert f"{other}: not a readable safetensors file" in last_line(capsys)


# --- bad input


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        (["nonsense"], [], "unknown recipe 'nonsense': did you mean cosine?"),
        (["bset"], [], "unknown recipe 'bset': did you mean best"),
        (["smooth", "--protocol", "dmeo"], [], "unknown protocol 'dmeo': did you mean demo?"),
        (["smooth", "--dataset", "imagnet"], [], "'imagnet': did you mean imagenet"),
        (["smooth"], ["epoch=1"], "option: unknown key 'epoch': did you mean epochs"),
        (["smooth"], ["epochs"], "option 'epochs' is not of the form key=value"),
        (["smooth"], ["epochs=many"], "option: epochs: 'many': Input should be a valid number"),
        (["smooth"], ["arch=resnet5o"], "unknown architecture 'resnet5o': did you mean resnet5"),
        (["smooth"], ["batch_size=64"], "48 training samples do not fill one batch of 64"),
        (["smooth"], ["batch_size=0"], "batch_size: 0: Input should be greater than or equal to 1"),
        (["smooth", "--limit", "10"], [], "10 training samples do not fill one batch of 16"),
        (["smooth", "--limit", "-3"], [], "limit: -3: Input should be greater than or equal to 1"),
        (["smooth"], ["accumulation=0"], "accumulation: 0: Input should be greater than or equal"),
        (["smooth", "--save-every", "0"], [], "--save-every 0: expected 1 or more steps"),
        (["smooth"], ["accumulation=3"], "does not divide over 1 processes x 3 micro-batches"),
        (["smooth", "--dataset", "places365"], [], "places365_standard: no such folder"),
    ],
)
def test_bad_input_is_one_line_and_2(
    run: Run, words: list[str], options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words, options=options) == 2
    assert message in last_line(capsys)


def test_missing_data_are_one_line_with_the_path_and_the_way_to_get_them(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").rename(tmp_path / "elsewhere")

    assert run("smooth") == 2

    line = last_line(capsys)
    assert f"{tmp_path / 'data/demo/imagenet'}: no such folder" in line
    assert line.endswith("To get it: make demo-data\n")


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def test_as_a_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pretrain", "nonsense"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env=environment(),
        check=False,
    )

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "trickbench: unknown recipe 'nonsense': did you mean cosine?\n"
    assert list(tmp_path.iterdir()) == []


# --- two processes

DISTINCT = 5  # images per class and split; the rest of the dataset are links to them


@pytest.fixture
def linked_demo_set(tmp_path: Path, image_folder: Callable) -> Path:
    """A dataset with the size of the rendered one, quick to write."""
    settings = Config.fromfile(str(ROOT / "configs/data/demo/imagenet.py"))
    for seed, (split, size) in enumerate(settings.sizes.items()):
        root = tmp_path / "data" / settings.root / split
        image_folder(root, settings.classes, DISTINCT, seed)
        for folder in root.iterdir():
            for i in range(DISTINCT, size // settings.classes):
                os.link(folder / f"{i % DISTINCT}.JPEG", folder / f"{i}.JPEG")
    return tmp_path / "data"


def test_two_processes_train_one_network(linked_demo_set: Path, tmp_path: Path) -> None:
    """The recorded accuracy is that of the exchange file's weights."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    sizes = ["batch_size=16", "train_resolution=32", "eval_resolution=32"]
    options = ["limit=96", "epochs=1", "warmup_epochs=0", *sizes, "accumulation=2"]
    places = ["--data", str(linked_demo_set), "--runs", str(tmp_path / "runs")]
    words = ["-m", "pretrain", "smooth", "--protocol", "demo", *places, "--workers", "0"]

    done = subprocess.run(
        [sys.executable, *launch, *words, "--cfg-options", *options],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(),
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step 6 of 6") == 1, "only the first process reports"
    label = "-".join(["smooth", *(option.replace("=", "-") for option in sorted(options))])
    out = seed_folder(tmp_path, label)
    found = record.read(out / "record.json")
    assert found.cost.devices == 2
    assert found.metrics["top1"].samples == found.dataset.sizes["val"]
    assert found.backbone.sha256 == sha256_of_weights(out / "backbone.safetensors")

    logits, labels = seen_by(out / "backbone.safetensors", linked_demo_set / "demo/imagenet/val")
    right = np.argsort(-logits, axis=1) == labels[:, None]
    assert found.metrics["top1"].value == pytest.approx(100 * right[:, 0].mean())
    assert found.metrics["top5"].value == pytest.approx(100 * right[:, :5].any(axis=1).mean())
    ranked = np.sort(logits, axis=1)
    gaps = ranked[:, -1] - ranked[:, :-1].mean(axis=1)
    kept = np.load(out / "gaps.npz")["gaps"]
    of_each = np.repeat(np.sort(gaps), len(kept) // len(gaps))
    np.testing.assert_allclose(np.sort(kept), of_each, rtol=1e-3, atol=1e-4)


def seen_by(exchange: Path, split: Path) -> tuple[np.ndarray, np.ndarray]:
    """Logits of an exchange file's weights, and labels, of each distinct image once."""
    with safetensors.safe_open(exchange, framework="pt") as file:
        about = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    model = create("resnet10d_narrow", json.loads(about["classes"]))
    model.load_state_dict(tensors)
    mean, std = (np.array(json.loads(about[key])) for key in ("mean", "std"))
    images, labels = [], []
    for label, folder in enumerate(sorted(split.iterdir())):
        for i in range(DISTINCT):
            image = Image.open(folder / f"{i}.JPEG").convert("RGB")
            small = image.resize((36, 36), Image.Resampling.BILINEAR)
            images.append((np.asarray(small)[2:34, 2:34] / 255 - mean) / std)
            labels.append(label)
    pixels = torch.from_numpy(np.stack(images).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        return model.eval()(pixels).numpy(), np.array(labels)
