"""Resume: an interrupted run ends with the same bytes as an uninterrupted one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.errors import InputError
from core.exchange import weights_sha256
from core.runtime import resume_state
from pretrain.recipe import Recipe
from pretrain.training import loop

MakeJob = Callable[..., loop.Job]
SaveTeacher = Callable[..., Path]
CPU = torch.device("cpu")


class Stop(Exception):
    """A power failure."""


def power_goes(monkeypatch: pytest.MonkeyPatch, save: int, after: bool) -> None:
    """A run that dies after its n-th save, or just before it."""
    whole, saves = resume_state.save_state, []

    def save_and_stop(folder: Path, step: int, *state: object) -> None:
        saves.append(step)
        if len(saves) < save or after:
            whole(folder, step, *state)
        if len(saves) == save:
            raise Stop

    monkeypatch.setattr(resume_state, "save_state", save_and_stop)


FULL = {
    "plain": {},
    "distilled": {"distill": "teacher"},
    "all": {"cutmix_alpha": 1.0, "randaugment": "rand-m6-mstd0.5-inc1", "repeats": 2}
    | {"drop_path": 0.1, "ema_decay": 0.9, "accumulation": 2},
    "lamb": {"optimiser": "lamb", "loss": "bce", "lr": 0.005, "weight_decay": 0.02},
}


@pytest.mark.parametrize("tricks", FULL)
@pytest.mark.parametrize(("save", "after"), [(1, True), (3, False), (3, True)])
def test_a_resumed_run_ends_with_the_same_bytes(
    make_job: MakeJob,
    tiny_recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
    samples_read: list[tuple[int, int, int]],
    save_teacher: SaveTeacher,
    tmp_path: Path,
    tricks: str,
    save: int,
    after: bool,
) -> None:
    """3 steps per epoch, saved at steps 2, 3, 4 and 6: within, at and after an epoch's end."""
    settings = replace(tiny_recipe, epochs=2, **FULL[tricks])
    teacher = save_teacher(settings)
    broken = make_job(settings, "broken", teacher=teacher, save_every=2)
    seen = samples_read
    with monkeypatch.context() as fatal:
        power_goes(fatal, save, after)
        with pytest.raises(Stop):
            loop.fit(broken)
    before = len(seen)

    resumed = loop.fit(broken)
    again = seen[before:]
    straight = loop.fit(replace(broken, out=tmp_path / "straight"))

    assert weights_sha256(resumed.tensors) == weights_sha256(straight.tensors)
    assert (resumed.top1, resumed.top5) == (straight.top1, straight.top5)
    assert resumed.right.tolist() == straight.right.tolist()
    histories = [
        json.loads((tmp_path / k / "history.json").read_text()) for k in ("broken", "straight")
    ]
    for entry in (entry for history in histories for entry in history):
        entry.pop("images_per_s")
    assert histories[0] == histories[1]
    gaps = [(tmp_path / k / "gaps.npz").read_bytes() for k in ("broken", "straight")]
    assert gaps[0] == gaps[1]
    saved = [2, 3, 4][save - 1 if after else save - 2]
    assert again == seen[before + len(again) + 16 * saved :], "nothing is read twice"


@pytest.mark.parametrize("how", [{"resident": True}, {"resident": True, "workers": 2}])
def test_a_resumed_run_on_a_resident_set_ends_with_the_same_bytes(
    make_job: MakeJob,
    tiny_recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    how: dict,
) -> None:
    settings = replace(tiny_recipe, epochs=2, **FULL["all"])
    broken = make_job(settings, "broken", save_every=2, **how)
    with monkeypatch.context() as fatal:
        power_goes(fatal, 3, True)
        with pytest.raises(Stop):
            loop.fit(broken)

    resumed = loop.fit(broken)

    straight = loop.fit(replace(broken, out=tmp_path / "straight", workers=0))
    assert weights_sha256(resumed.tensors) == weights_sha256(straight.tensors)
    assert resumed.right.tolist() == straight.right.tolist()


def history(folder: Path) -> list[dict[str, float]]:
    entries = json.loads((folder / "history.json").read_text())
    return [{k: v for k, v in entry.items() if k != "images_per_s"} for entry in entries]


def test_distillation_moves_the_student_and_not_the_teacher(
    make_job: MakeJob, tiny_recipe: Recipe, save_teacher: SaveTeacher
) -> None:
    path = save_teacher(tiny_recipe)
    settings = replace(tiny_recipe, epochs=1)
    before = path.read_bytes()

    alone = loop.fit(make_job(settings, "alone"))
    taught = loop.fit(make_job(replace(settings, distill="teacher"), "taught", teacher=path))

    assert weights_sha256(alone.tensors) != weights_sha256(taught.tensors)
    assert path.read_bytes() == before


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob("state-*")}


def test_a_finished_state_only_reports(
    make_job: MakeJob, tiny_recipe: Recipe, samples_read: list[tuple[int, int, int]]
) -> None:
    job = make_job(replace(tiny_recipe, epochs=1))
    first = loop.fit(job)
    before = contents(job.out)
    samples_read.clear()

    again = loop.fit(job)

    assert weights_sha256(again.tensors) == weights_sha256(first.tensors)
    assert (again.top1, again.top5) == (first.top1, first.top5)
    assert again.right.tolist() == first.right.tolist()
    assert contents(job.out) == before
    assert samples_read == []


def test_the_time_of_all_attempts_counts(
    make_job: MakeJob, tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(replace(tiny_recipe, epochs=2))
    with monkeypatch.context() as fatal:
        power_goes(fatal, 1, after=True)
        with pytest.raises(Stop):
            loop.fit(job)
    path = resume_state.states(job.out)[0]
    state = resume_state.load_state(job.out, CPU)
    resume_state.save_state(job.out, 3, state | {"wall": 1000.0, "seconds": 500.0}, "")
    began = time.perf_counter()

    outcome = loop.fit(job)

    assert path.name == "state-000000003.pt"
    assert 1000 < outcome.cost.wall_s < 1001 + time.perf_counter() - began
    assert outcome.cost.device_hours == outcome.cost.wall_s / 3600
    assert outcome.cost.samples_per_s == pytest.approx(2 * 48 / 500, rel=0.05)


def test_a_damaged_state_is_passed_over(
    make_job: MakeJob, tiny_recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run resumes from the state before, and repeats the steps since."""
    job = make_job(replace(tiny_recipe, epochs=2), save_every=2)
    first = loop.fit(job)
    newest, before = resume_state.states(job.out)
    assert (newest.name, before.name) == ("state-000000006.pt", "state-000000004.pt")
    whole = newest.read_bytes()
    newest.write_bytes(whole[:-100])
    capsys.readouterr()

    again = loop.fit(job)

    err = capsys.readouterr().err
    assert err.startswith(f"trickbench: {newest}: the saved state is damaged (")
    assert err.count("\n") == 1
    assert weights_sha256(again.tensors) == weights_sha256(first.tensors)
    assert resume_state.load_state(job.out, CPU)["step"] == 6


def test_only_damaged_states_are_refused(make_job: MakeJob, tiny_recipe: Recipe) -> None:
    job = make_job(tiny_recipe)
    job.out.mkdir()
    for step in (3, 6):
        (job.out / f"state-{step:09d}.pt").write_bytes(b"half a state")

    with pytest.raises(InputError, match="every saved state is damaged; remove the folder"):
        loop.fit(job)
