"""The training loop: schedule, loss, steps, resume, teachers and initial weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pretrain import checkpoint, loader, mixup, models, recipe, train
from pretrain.errors import InputError

MakeJob = Callable[..., train.Job]
Recipe = recipe.Recipe


def plain(settings: Recipe, **changes: object) -> Recipe:
    """Without anything random in the loss."""
    return replace(settings, hsv_jitter=0.0, pca_noise=0.0, mixup_alpha=0.0, **changes)


def sha256(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].numpy().tobytes())
    return digest.hexdigest()


# --- the schedule


def by_numpy(settings: Recipe, per_epoch: int) -> np.ndarray:
    """The learning rate of every step of a training."""
    total = round(settings.epochs * per_epoch)
    warmup = round(settings.warmup_epochs * per_epoch)
    peak = settings.lr * (settings.batch_size / 256 if settings.linear_scaling else 1)
    t = np.arange(total)
    if settings.lr_decay == "step":
        after = peak / 10.0 ** (4 * t // total)
    else:
        after = peak * 0.5 * (1 + np.cos(np.pi * (t - warmup) / (total - warmup)))
    return np.where(t < warmup, peak * (t + 1) / max(1, warmup), after)


@pytest.mark.parametrize("per_epoch", [1, 7, 40])
@pytest.mark.parametrize("name", ["b-standard", "b-linear-scaling", "b-warmup", "cosine", "best"])
def test_learning_rate_of_every_step(name: str, per_epoch: int) -> None:
    settings = recipe.load(name, "paper", {})
    expected = by_numpy(settings, per_epoch)
    assert train.total_steps(settings, per_epoch) == len(expected) == settings.epochs * per_epoch

    found = [train.learning_rate(settings, step, per_epoch) for step in range(len(expected))]

    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)


def test_b_standard_by_hand() -> None:
    """5004 batches of 256 an epoch; drops at epochs 30, 60, 90 of 120."""
    settings, n = recipe.load("b-standard", "paper", {}), 1_281_167 // 256
    assert n == 5004
    for epoch, lr in ((0, 0.1), (30, 0.01), (60, 0.001), (90, 0.0001)):
        assert train.learning_rate(settings, epoch * n, n) == pytest.approx(lr)
        if epoch:
            assert train.learning_rate(settings, epoch * n - 1, n) == pytest.approx(10 * lr)
    assert train.learning_rate(settings, 120 * n - 1, n) == pytest.approx(0.0001)


def test_warm_up_and_cosine_by_hand() -> None:
    """1251 batches of 1024 an epoch: to 0.4 in 6255 batches, then along a cosine to nothing."""
    settings, n = recipe.load("cosine", "paper", {}), 1_281_167 // 1024
    warmup, total = 5 * n, 120 * n

    def lr(step: int) -> float:
        return train.learning_rate(settings, step, n)

    assert lr(0) == pytest.approx(0.4 / 6255)
    assert lr(999) == pytest.approx(0.4 * 1000 / 6255)
    assert lr(warmup - 1) == pytest.approx(0.4)
    assert lr(warmup) == pytest.approx(0.4), "t = 0"
    assert lr((warmup + total) // 2) == pytest.approx(0.2, rel=1e-3)
    # (1 + cos(pi - d)) / 2 is about d^2 / 4
    last = 0.4 * (math.pi / (total - warmup)) ** 2 / 4
    assert lr(total - 1) == pytest.approx(last, rel=1e-3, abs=0)


def test_a_training_shorter_than_its_warm_up_only_warms_up(tiny_recipe: Recipe) -> None:
    settings = replace(tiny_recipe, epochs=1, warmup_epochs=2)

    found = [train.learning_rate(settings, step, 3) for step in range(3)]

    assert found == pytest.approx([0.05 * k / 6 for k in (1, 2, 3)])


# --- loss and step


class Colour(nn.Module):
    """A little network without batch norm."""

    def __init__(self, seed: int, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(3 * 4, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))

    def by_hand(self, pixels: np.ndarray) -> np.ndarray:
        n, c, h, w = pixels.shape
        pooled = pixels.reshape(n, c, 2, h // 2, 2, w // 2).mean(axis=(3, 5)).reshape(n, -1)
        weight, bias = (p.detach().double().numpy() for p in self.linear.parameters())
        return pooled @ weight.T + bias


def log_softmax(z: np.ndarray) -> np.ndarray:
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(8)
    images = rng.integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)
    return torch.from_numpy(images), torch.from_numpy(rng.integers(0, 3, 6))


def normalised(images: torch.Tensor, settings: Recipe) -> np.ndarray:
    mean, std = (np.array(m)[:, None, None] for m in (settings.mean, settings.std))
    return (images.numpy() / 255 - mean) / std


def smoothed(labels: torch.Tensor, classes: int = 3, eps: float = 0.1) -> np.ndarray:
    q = np.full((len(labels), classes), eps / (classes - 1))
    q[np.arange(len(labels)), labels.numpy()] = 1 - eps
    return q


@pytest.mark.parametrize("mix", [False, True])
@pytest.mark.parametrize("distil", [False, True])
def test_the_loss_is_numpys(
    make_job: MakeJob,
    tiny_recipe: Recipe,
    batch: tuple[torch.Tensor, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    distil: bool,
    mix: bool,
) -> None:
    """Both losses see the same mixed pictures, and the one against the teacher has no weight."""
    partner, lam = torch.tensor([3, 0, 1, 5, 4, 2]), torch.tensor([0.9, 0.5, 0.2, 1, 0, 0.6])
    monkeypatch.setattr(mixup, "draw", lambda *_: (partner, lam))
    settings = replace(plain(tiny_recipe), mixup_alpha=0.2 if mix else 0.0)
    student, teacher = Colour(1), Colour(2)
    images, labels = batch

    loss = train.batch_loss(
        make_job(settings), student, teacher if distil else None, batch, (0, 0, 0)
    )

    x, q = normalised(images, settings), smoothed(labels)
    if mix:
        w = lam.numpy()
        x = w[:, None, None, None] * x + (1 - w)[:, None, None, None] * x[partner.numpy()]
        q = w[:, None] * q + (1 - w)[:, None] * q[partner.numpy()]
    z, r = student.by_hand(x), teacher.by_hand(x)
    expected = -(q * log_softmax(z)).sum(axis=1).mean()
    if distil:
        soft = np.exp(log_softmax(r / 20))
        expected += 400 * -(soft * log_softmax(z / 20)).sum(axis=1).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_what_is_random_in_the_loss_follows_step_part_process_and_seed(
    make_job: MakeJob, tiny_recipe: Recipe, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    def loss(key: tuple, seed: int = 3) -> float:
        return train.batch_loss(
            make_job(tiny_recipe, seed=seed), Colour(1), None, batch, key
        ).item()

    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert len({*map(loss, keys), loss((0, 0, 0), seed=4)}) == 5
    assert loss((1, 0, 0)) == loss((1, 0, 0))


def test_accumulation_has_the_gradient_of_the_whole_batch(
    make_job: MakeJob, tiny_recipe: Recipe, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    images, labels = batch
    found = []
    for parts in (1, 2, 3):
        trainer = train.Trainer(make_job(plain(tiny_recipe, accumulation=parts)))
        trainer.raw = trainer.model = Colour(1)
        trainer.optimiser = torch.optim.SGD(trainer.raw.parameters(), lr=0.0)
        micro = list(zip(images.chunk(parts), labels.chunk(parts), strict=True))
        loss = trainer.train_step(micro)
        found.append((loss, [p.grad for p in trainer.raw.parameters()]))

    for loss, gradients in found[1:]:
        torch.testing.assert_close(loss, found[0][0])
        for one, whole in zip(gradients, found[0][1], strict=True):
            torch.testing.assert_close(one, whole)
    assert found[0][1][0].abs().max() > 1e-3


def test_steps_are_nesterovs_with_decay_on_weights_only(
    make_job: MakeJob, tiny_recipe: Recipe, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """v = mu v + g + wd w; w = w - lr (g + wd w + mu v), with the learning rate of the step."""
    settings = plain(tiny_recipe, weight_decay=0.1, lr=0.05, lr_decay="step")
    trainer = train.Trainer(make_job(settings))
    trainer.raw = trainer.model = Colour(1)
    trainer.optimiser = train.optimiser(trainer.raw, settings)
    weights = [p.detach().double().numpy().copy() for p in trainer.raw.parameters()]
    momenta = [np.zeros_like(w) for w in weights]

    for step in range(4):
        trainer.train_step([batch])
        lr = 0.05 * min(1, (step + 1) / 3)  # one epoch of 3 steps of warm-up, of 3 epochs
        lr = lr if step < 3 else 0.05 / 10  # and at step 3 of 9 a quarter is over
        for i, parameter in enumerate(trainer.raw.parameters()):
            decay = 0.1 if parameter.dim() == 2 else 0.0
            g = parameter.grad.double().numpy() + decay * weights[i]
            momenta[i] = 0.9 * momenta[i] + g
            weights[i] = weights[i] - lr * (g + 0.9 * momenta[i])
            np.testing.assert_allclose(parameter.detach().numpy(), weights[i], rtol=1e-4, atol=1e-6)
    assert trainer.step == 4


@pytest.mark.parametrize("off", [True, False])
def test_the_optimiser_decays_everything_unless_told(tiny_recipe: Recipe, off: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    found = train.optimiser(model, replace(tiny_recipe, no_bias_decay=off))

    decays = {id(p): g["weight_decay"] for g in found.param_groups for p in g["params"]}
    assert len(decays) == 4
    assert decays.pop(id(model[0].weight)) == 1e-4
    assert set(decays.values()) == {0.0 if off else 1e-4}
    for group in found.param_groups:
        assert (group["momentum"], group["nesterov"]) == (0.9, True)


def test_precision() -> None:
    settings = recipe.load("best", "paper", {})
    assert train.precision(settings, torch.device("cuda")) == "fp16"
    assert train.precision(settings, torch.device("cpu")) == "fp32"
    standard = recipe.load("b-standard", "paper", {})
    assert train.precision(standard, torch.device("cuda")) == "fp32"


# --- a whole run


def test_a_run_learns_and_its_accuracy_is_that_of_its_weights(
    make_job: MakeJob, tiny_recipe: Recipe
) -> None:
    job = make_job(plain(tiny_recipe, epochs=8))

    outcome = train.fit(job)

    model = models.create("resnet10d_narrow", 3)
    model.load_state_dict(outcome.tensors)
    model.eval()
    right = 0
    mean, std = np.array(job.recipe.mean), np.array(job.recipe.std)
    for picture, label in zip(job.test.pixels, job.test.labels, strict=True):
        # 32 / 0.875 is 36.57: to 36 pixels, of which the central 32
        small = Image.fromarray(picture).resize((36, 36), Image.Resampling.BILINEAR)
        x = (np.asarray(small)[2:34, 2:34] / 255 - mean) / std
        logits = model(torch.from_numpy(x.astype(np.float32)).permute(2, 0, 1)[None])
        right += int(logits.argmax() == label)
    assert outcome.samples == 21
    assert outcome.top1 == pytest.approx(100 * right / 21)
    assert outcome.top5 == 100
    assert outcome.top1 > 80

    assert outcome.cost.devices == 1
    assert outcome.cost.precision == "fp32"
    assert outcome.cost.wall_s > 0
    assert outcome.cost.device_hours == pytest.approx(outcome.cost.wall_s / 3600)
    assert outcome.cost.samples_per_s > 0
    assert list((job.out / "tensorboard").iterdir())


def test_the_same_seed_gives_the_same_bytes(make_job: MakeJob, tiny_recipe: Recipe) -> None:
    settings = replace(tiny_recipe, epochs=1)
    runs = [("one", 3, 0), ("two", 3, 1), ("other", 4, 0)]

    one, two, other = (
        sha256(train.fit(make_job(settings, out, seed=seed, workers=workers)).tensors)
        for out, seed, workers in runs
    )

    assert one == two
    assert one != other


def test_each_epoch_has_an_order_of_its_own(
    make_job: MakeJob, tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    read = loader.TrainingView.__getitem__

    def note(view: loader.TrainingView, key: tuple[int, int]) -> tuple:
        seen.append(key)
        return read(view, key)

    monkeypatch.setattr(loader.TrainingView, "__getitem__", note)
    train.fit(make_job(tiny_recipe))

    assert [epoch for epoch, _ in seen] == [0] * 48 + [1] * 48 + [2] * 48
    orders = [[index for _, index in seen[48 * k : 48 * (k + 1)]] for k in range(3)]
    assert all(sorted(order) == list(range(48)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


class Stop(Exception):
    """The power goes."""


@pytest.fixture(params=["after the save", "before it"])
def stop_at_second_save(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """A run dies when it has saved a second time, or just before: then it has saved once."""
    save, saves = checkpoint.save_state, []

    def save_and_stop(path: Path, state: dict) -> None:
        saves.append(state["step"])
        if len(saves) < 2 or request.param == "after the save":
            save(path, state)
        if len(saves) == 2:
            raise Stop

    monkeypatch.setattr(checkpoint, "save_state", save_and_stop)
    return monkeypatch


@pytest.mark.parametrize("distil", [False, True])
def test_an_interrupted_run_ends_with_the_same_bytes(
    make_job: MakeJob,
    tiny_recipe: Recipe,
    stop_at_second_save: pytest.MonkeyPatch,
    tmp_path: Path,
    distil: bool,
) -> None:
    """With mixup, colours, momentum and a schedule that all go on where they were."""
    settings = replace(tiny_recipe, distill="teacher" if distil else None, epochs=4)
    teacher = save_teacher(tmp_path / "teacher.safetensors", settings)
    with pytest.raises(Stop):
        train.fit(make_job(settings, "broken", teacher=teacher))
    stop_at_second_save.undo()

    resumed = train.fit(make_job(settings, "broken", teacher=teacher))
    straight = train.fit(make_job(settings, "straight", teacher=teacher))

    assert sha256(resumed.tensors) == sha256(straight.tensors)
    assert (resumed.top1, resumed.top5, resumed.samples) == (
        straight.top1,
        straight.top5,
        straight.samples,
    )
    assert resumed.cost.wall_s > 0


def test_a_finished_state_only_reports(make_job: MakeJob, tiny_recipe: Recipe) -> None:
    job = make_job(replace(tiny_recipe, epochs=1))
    first = train.fit(job)
    before = (job.out / "state.pt").read_bytes()

    again = train.fit(job)

    assert sha256(again.tensors) == sha256(first.tensors)
    assert (again.top1, again.top5, again.samples) == (first.top1, first.top5, first.samples)
    assert (job.out / "state.pt").read_bytes() == before


def steps_of(job: train.Job) -> int:
    return checkpoint.load_state(job.out / "state.pt", torch.device("cpu"))["step"]


def test_a_run_may_end_within_an_epoch(make_job: MakeJob, tiny_recipe: Recipe) -> None:
    job = make_job(replace(tiny_recipe, epochs=4 / 3))  # of 3 steps each

    train.fit(job)

    assert steps_of(job) == 4


def test_too_small_a_set_is_refused(
    make_job: MakeJob, tiny_recipe: Recipe, make_images: Callable
) -> None:
    with pytest.raises(InputError, match="10 training samples do not fill one batch of 16"):
        train.fit(make_job(tiny_recipe, train=make_images(10)))


def test_a_loss_that_is_not_finite_keeps_the_state_from_before(
    make_job: MakeJob, tiny_recipe: Recipe
) -> None:
    job = make_job(replace(tiny_recipe, epochs=1, warmup_epochs=0))
    train.fit(job)
    before = (job.out / "state.pt").read_bytes()
    wild = replace(job.recipe, epochs=3, lr=1e30)

    with pytest.raises(
        InputError, match=r"the loss is (nan|inf) at step 6 of 9: lower lr"
    ) as error:
        train.fit(replace(job, recipe=wild))

    assert "1e+30" in str(error.value)
    assert (job.out / "state.pt").read_bytes() == before


def test_a_damaged_state_is_refused(make_job: MakeJob, tiny_recipe: Recipe) -> None:
    job = make_job(tiny_recipe)
    job.out.mkdir()
    (job.out / "state.pt").write_bytes(b"half a state")

    with pytest.raises(InputError, match="the saved state is damaged"):
        train.fit(job)


# --- teachers


def save_teacher(path: Path, settings: Recipe, classes: int = 3, **changes: object) -> Path:
    torch.manual_seed(9)
    about = checkpoint.Exchange(
        architecture="resnet18d_narrow",
        classes=classes,
        mean=settings.mean,
        std=settings.std,
        resolution=32,
        crop_ratio=0.875,
        interpolation="bilinear",
        pretrained=True,
        recipe="teacher",
        protocol="demo",
        seed=0,
        dataset="tiny",
        record_sha256="",
    )
    weights = models.create("resnet18d_narrow", classes).state_dict()
    checkpoint.save_exchange(path, weights, replace(about, **changes))
    return path


def test_a_teacher_is_frozen_and_as_saved(
    make_job: MakeJob, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    path = save_teacher(tmp_path / "t.safetensors", tiny_recipe)

    teacher = train.load_teacher(make_job(replace(tiny_recipe, distill="teacher"), teacher=path))

    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    saved, _ = checkpoint.load_exchange(path)
    assert all(torch.equal(saved[name], t) for name, t in teacher.state_dict().items())


def test_distillation_moves_the_student_and_not_the_teacher(
    make_job: MakeJob, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    path = save_teacher(tmp_path / "t.safetensors", tiny_recipe)
    settings = replace(tiny_recipe, epochs=1)
    before = path.read_bytes()

    alone = train.fit(make_job(settings, "alone"))
    taught = train.fit(make_job(replace(settings, distill="teacher"), "taught", teacher=path))

    assert sha256(alone.tensors) != sha256(taught.tensors)
    assert path.read_bytes() == before


def test_no_teacher_for_a_recipe_that_does_not_distil(
    make_job: MakeJob, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    assert train.load_teacher(make_job(tiny_recipe, teacher=tmp_path / "absent")) is None


def test_a_recipe_that_distils_needs_a_teacher(make_job: MakeJob, tiny_recipe: Recipe) -> None:
    with pytest.raises(InputError, match="distils from 'teacher'"):
        train.fit(make_job(replace(tiny_recipe, distill="teacher")))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": 5}, "the teacher's classes: 5, the student's: 3"),
        ({"dataset": "imagenet"}, "the teacher's data set: imagenet, the student's: tiny"),
        ({"mean": (0.5, 0.5, 0.5)}, r"the teacher's mean: \(0.5, 0.5, 0.5\), the student's: \(0.5"),
        ({"std": (1.0, 1.0, 1.0)}, r"the teacher's std: \(1.0"),
    ],
)
def test_a_teacher_of_something_else_is_refused(
    make_job: MakeJob, tiny_recipe: Recipe, tmp_path: Path, changes: dict, words: str
) -> None:
    path = save_teacher(tmp_path / "t.safetensors", tiny_recipe, **changes)

    with pytest.raises(InputError, match=words) as error:
        train.fit(make_job(replace(tiny_recipe, distill="teacher"), teacher=path))

    assert str(error.value).startswith(f"{path}: ")


# --- initial weights


def test_weights_start_as_the_paper_says_and_follow_the_seed(
    make_job: MakeJob, tiny_recipe: Recipe
) -> None:
    one, two, other = (train.build(make_job(tiny_recipe, seed=seed)) for seed in (3, 3, 4))

    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.fc.weight, other.fc.weight)
    assert torch.all(one.layer2[0].bn2.weight == 0)
    bound = math.sqrt(6 / (256 + 3))
    assert 0.9 * bound < one.fc.weight.abs().max() <= bound * (1 + 1e-6)
    standard = train.build(make_job(replace(tiny_recipe, zero_gamma=False)))
    assert torch.all(standard.layer2[0].bn2.weight == 1)


def source(classes: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    tensors = models.create("resnet10d_narrow", classes).state_dict()
    return {name: torch.rand_like(t) if t.is_floating_point() else t for name, t in tensors.items()}


@pytest.mark.parametrize("classes", [3, 40])
def test_given_weights_replace_all_but_the_classifier(
    make_job: MakeJob, tiny_recipe: Recipe, classes: int
) -> None:
    given = source(classes)
    random = train.build(make_job(tiny_recipe)).state_dict()

    found = train.build(make_job(tiny_recipe, initial=given)).state_dict()

    for name, tensor in found.items():
        expected = random if name in ("fc.weight", "fc.bias") else given
        assert torch.equal(tensor, expected[name]), name
    assert found["fc.weight"].shape == (3, 256)


def test_given_weights_without_a_classifier_do(make_job: MakeJob, tiny_recipe: Recipe) -> None:
    given = {name: tensor for name, tensor in source(3).items() if not name.startswith("fc.")}

    found = train.build(make_job(tiny_recipe, initial=given)).state_dict()

    assert all(torch.equal(found[name], tensor) for name, tensor in given.items())


def test_a_renamed_tensor_is_refused_by_its_names(make_job: MakeJob, tiny_recipe: Recipe) -> None:
    given = source(3)
    given["layer3.0.convolution1.weight"] = given.pop("layer3.0.conv1.weight")

    with pytest.raises(InputError) as error:
        train.build(make_job(tiny_recipe, initial=given))

    assert "layer3.0.conv1.weight is not in the checkpoint" in str(error.value)
    assert "layer3.0.convolution1.weight is not in the model" in str(error.value)


def test_weights_of_another_architecture_are_refused(
    make_job: MakeJob, tiny_recipe: Recipe
) -> None:
    given = models.create("resnet18d_narrow", 3).state_dict()

    with pytest.raises(InputError, match=r"layer1\.1\.conv1\.weight is not in the model"):
        train.build(make_job(tiny_recipe, initial=given))
