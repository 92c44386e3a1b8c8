"""Does a run that is killed many times end with the same bytes as an uninterrupted run?

    python benchmarks/kills.py --kills 100 --seed 1

Trains on a small folder of JPEGs, one of them corrupt, in real processes that receive real signals
at random moments: SIGKILL (to one process, to all, while a state is being written), SIGTERM and
SIGUSR1. Some of the newest states are also damaged on disk. The run is restarted after each kill.
At the end its weights, history, state, logit gaps and list of unreadable files are compared with
those of a reference run: uninterrupted, without loader processes.

Processes are forked from one that has imported torch, which saves seconds for each. The exception
is the setting with torchrun.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import faulthandler
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [] if str(ROOT) in sys.path else [str(ROOT)]

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save as serialised

from core import configs, errors, exchange
from core.execution import unfinished
from core.files import write_atomically
from core.runtime import distributed, resume_state
from pretrain import recipe
from pretrain.images import datasets, loader
from pretrain.training import loop, trainer

PATIENCE = 120  # seconds until an attempt counts as hanging
SETTLE = 15  # seconds for the children of a killed process to end by themselves
DELAY = 0.03  # seconds, about a step: the longest delay of a kill after its trigger
CORRUPT = 7  # the number of the corrupt image of each split

EVERYTHING = recipe.Recipe(
    arch="resnet10_narrow",
    dataset="rendered",
    epochs=7.5,
    batch_size=12,
    lr=0.05,
    base_batch_size=12,
    linear_scaling=True,
    warmup_epochs=1,
    lr_decay="cosine",
    momentum=0.9,
    weight_decay=1e-4,
    no_bias_decay=True,
    zero_gamma=True,
    precision="fp32",
    label_smoothing=0.1,
    distill=None,
    distill_temperature=20,
    mixup_alpha=0.2,
    train_resolution=32,
    eval_resolution=32,
    crop_ratio=0.875,
    interpolation="bilinear",
    hsv_jitter=0.4,
    pca_noise=0.1,
    mean=(0.5, 0.4, 0.3),
    std=(0.25, 0.2, 0.3),
    cutmix_alpha=1.0,
    randaugment="rand-m7-mstd0.5-inc1",
    repeats=2,
    drop_path=0.1,
    ema_decay=0.9,
    accumulation=2,
)
LAMB = replace(EVERYTHING, optimiser="lamb", loss="bce", lr=0.005, weight_decay=0.02, repeats=3)
PLAIN = replace(EVERYTHING, cutmix_alpha=0, randaugment=None, repeats=1, drop_path=0, ema_decay=0)


@dataclass(frozen=True)
class Setting:
    """What is trained, and with which processes."""

    name: str
    recipe: recipe.Recipe
    processes: int = 1
    workers: int = 0
    save_every: int = 3
    torchrun: bool = False


# settings, and the share of the kills of each
SETTINGS = (
    (Setting("SGD, all tricks", EVERYTHING, save_every=2), 25),
    (Setting("LAMB, all tricks, 2 workers", LAMB, workers=2), 25),
    (Setting("SGD, no averaging, 2 workers", PLAIN, workers=2), 15),
    (Setting("SGD, all tricks, 2 processes", EVERYTHING, processes=2), 15),
    (Setting("LAMB, all tricks, 2 processes, 2 workers", LAMB, 2, 2, save_every=2), 15),
    (Setting("LAMB, all tricks, torchrun with 2", LAMB, processes=2, torchrun=True), 5),
)


def render(folder: Path) -> None:
    """Renders 54 training and 20 test images of three classes, one of each split corrupt."""
    rng = np.random.default_rng(5)
    for split, count in (("train", 54), ("val", 20)):
        (folder / split).mkdir(parents=True)
        for i in range(count):
            colour = np.array([(200, 60, 60), (60, 200, 60), (60, 60, 200)][i % 3])
            pixels = np.clip(colour + rng.normal(0, 40, (40, 48, 3)), 0, 255).astype(np.uint8)
            path = folder / split / f"{i:02d}.jpeg"
            Image.fromarray(pixels).save(path)
            if i == CORRUPT:
                path.write_bytes(path.read_bytes()[:400])


def image_set(folder: Path, split: str) -> datasets.ImageSet:
    files = tuple(f"{split}/{path.name}" for path in sorted((folder / split).iterdir()))
    labels = np.arange(len(files)) % 3
    return datasets.ImageSet("rendered", "imagenet", split, ("r", "g", "b"), labels, folder, files)


# --- in the processes that are killed


@dataclass(frozen=True)
class Orders:
    """The task of one process: where to work, and in which write of a state to die, if any."""

    folder: Path
    setting: Setting
    rank: int = 0
    port: int = 0
    fatal_write: int = 0  # counted from 1; 0 for none
    phase: str = ""


def drive(orders: Orders) -> None:
    """Trains or resumes, and logs what it does to <folder>/log<rank>."""
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)  # to be killed together with its loader processes
    if orders.port:
        os.environ |= {"RANK": str(orders.rank), "LOCAL_RANK": str(orders.rank)}
        os.environ |= {"WORLD_SIZE": str(orders.setting.processes), "MASTER_ADDR": "127.0.0.1"}
        os.environ |= {"MASTER_PORT": str(orders.port)}
    multiprocessing.set_start_method("fork", force=True)  # the default for loader processes
    output = os.open(orders.folder / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    faulthandler.register(signal.SIGUSR2, all_threads=True)  # to inspect a process that hangs
    torch.set_num_threads(1)
    rank = int(os.environ.get("RANK", "0"))
    take_notes(orders.folder / f"log{rank}")
    if orders.fatal_write:
        die_writing(orders.fatal_write, orders.phase)
    status = 1
    try:
        status = errors.exit_status(lambda: train_once(orders.folder, orders.setting))
    except BaseException as error:
        sys.last_value = error  # where Python keeps it, with its frames
        traceback.print_exc()
    atexit._run_exitfuncs()  # Python does not run them in a forked process
    sys.exit(status)


def train_once(folder: Path, setting: Setting) -> None:
    images = folder.parent / "images"
    with distributed.process_group() as device:
        if not unfinished(folder / "run", configs.digest(setting.name), "weights.safetensors"):
            return
        job = loop.Job(
            setting.recipe,
            image_set(images, "train"),
            image_set(images, "val"),
            folder / "run",
            seed=3,
            device=device,
            workers=setting.workers,
            save_every=setting.save_every,
        )
        outcome = loop.fit(job)
        if distributed.rank() == 0:
            weights = {name: tensor.contiguous() for name, tensor in outcome.tensors.items()}
            write_atomically(folder / "run" / "weights.safetensors", serialised(weights))


def take_notes(path: Path) -> None:
    """Makes the training log a line for each start, sample, step and saved state."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(*words: object) -> None:
        os.write(file, (" ".join(map(str, words)) + "\n").encode())

    def around(owner: Any, name: str, before: Callable, after: Callable) -> None:
        original = getattr(owner, name)

        def noted(*arguments: Any) -> Any:
            before(*arguments)
            result = original(*arguments)
            after(*arguments)
            return result

        setattr(owner, name, noted)

    def nothing(*_: object) -> None: ...

    resumed = "attempt", os.getpid()
    around(trainer.Trainer, "resume", nothing, lambda it: note(*resumed, it.step))
    around(trainer.Trainer, "train_step", nothing, lambda it, _: note("step", it.step))
    around(loader.TrainingView, "__getitem__", lambda _, key: note("read", *key), nothing)
    around(resume_state, "write_state", lambda _, step, state: note("save", step), nothing)


def die_writing(fatal: int, phase: str) -> None:
    """Kills the process during a write of a state: half written, written, or renamed."""
    save, fsync, rename = resume_state.write_state, os.fsync, os.replace
    saves: list[int] = []

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def tear(file: int) -> None:
        os.ftruncate(file, os.fstat(file).st_size // 2)
        fsync(file)
        die()

    def rename_and_die(*paths: Any) -> None:
        rename(*paths)
        die()

    def counted(folder: Path, step: int, state: dict) -> None:
        saves.append(step)
        if len(saves) == fatal:
            changes = {"torn": ("fsync", tear), "written": ("replace", die)}
            setattr(os, *changes.get(phase, ("replace", rename_and_die)))
        save(folder, step, state)

    resume_state.write_state = counted  # type: ignore[assignment]


# --- in the process that kills


class Wrong(Exception):
    """A run did something that it must not do."""


@dataclass
class Attempt:
    """One start of the run, in one process or several."""

    processes: list[Any] = field(default_factory=list)  # of multiprocessing
    agent: subprocess.Popen | None = None  # torchrun
    logs: list[Path] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)  # the length of each log before this attempt

    def notes(self, rank: int = 0) -> list[list[str]]:
        """The lines that a process has logged in this attempt, complete ones only."""
        if not self.logs[rank].exists():
            return []
        text = self.logs[rank].read_bytes()[self.starts[rank] :].decode()
        return [line.split() for line in text.split("\n")[:-1]]

    def pids(self) -> list[int]:
        if self.agent is None:
            return [process.pid for process in self.processes]
        return [int(n[1]) for rank in range(len(self.logs)) for n in self.notes(rank)[:1]]

    def running(self) -> bool:
        if self.agent is not None:
            return self.agent.poll() is None
        return any(process.is_alive() for process in self.processes)

    def codes(self) -> list[int]:
        if self.agent is not None:
            return [self.agent.wait()]
        return [process.exitcode for process in self.processes]

    def send(self, number: int, pids: list[int], group: bool = False) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(pid, number)

    def wait(self) -> None:
        """Waits until all processes have ended. Once one has, the others get SIGTERM."""
        began, asked = time.monotonic(), False
        while self.running():
            waited = time.monotonic() - began
            if self.agent is None and not asked and not all(p.is_alive() for p in self.processes):
                time.sleep(2)  # for a regular end of all; then SIGTERM, as torchrun does
                self.send(signal.SIGTERM, [p.pid for p in self.processes if p.is_alive()])
                asked = True
            if waited > PATIENCE:
                self.send(signal.SIGKILL, self.pids(), group=True)
                raise Wrong(f"an attempt did not end within {PATIENCE} s")
            time.sleep(0.005)


ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def context() -> Any:
    """The multiprocessing context; its fork server starts with the first process."""
    os.environ |= ENVIRONMENT
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["benchmarks.kills", *{"pytest"}.intersection(sys.modules)])
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(folder: Path, setting: Setting, fatal_write: int = 0, phase: str = "") -> Attempt:
    logs = [folder / f"log{rank}" for rank in range(setting.processes)]
    attempt = Attempt(logs=logs, starts=[log.stat().st_size if log.exists() else 0 for log in logs])
    orders = Orders(folder, setting, 0, 0, fatal_write, phase)
    if setting.torchrun:
        words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        (folder / "orders.json").write_text(json.dumps(asdict(orders), default=str))
        with open(folder / "output", "ab") as output:
            attempt.agent = subprocess.Popen(
                [sys.executable, *words, __file__, "--drive", str(folder / "orders.json")],
                stdout=output,
                stderr=output,
                env=os.environ | ENVIRONMENT,
                start_new_session=True,
            )
        return attempt
    port = free_port() if setting.processes > 1 else 0
    for rank in range(setting.processes):
        told = replace(orders, rank=rank, port=port, fatal_write=fatal_write if rank == 0 else 0)
        process = context().Process(target=drive, args=(told,))
        process.start()
        attempt.processes.append(process)
    return attempt


def ordered(path: Path) -> Orders:
    """The orders of a process started by torchrun."""
    values = json.loads(path.read_text())
    setting = values.pop("setting")
    values["folder"] = Path(values["folder"])
    for key in ("mean", "std"):
        setting["recipe"][key] = tuple(setting["recipe"][key])
    setting["recipe"] = recipe.Recipe(**setting["recipe"])
    return Orders(**values | {"setting": Setting(**setting)})


@dataclass
class Row:
    """The results of one setting."""

    setting: str
    kills: Counter = field(default_factory=Counter)
    damaged: int = 0
    attempts: int = 0
    redone: int = 0
    runs: int = 0  # finished and compared

    @property
    def killed(self) -> int:
        return sum(self.kills.values())


@dataclass
class Reference:
    """An uninterrupted run."""

    result: dict[str, Any]
    reads: list[list[list[str]]]  # by process: the samples it read
    first_read: list[list[int]]  # by process: how many it had read before each step


def refer(folder: Path, setting: Setting) -> Reference:
    """Runs a setting without interruption and without loader processes, which change nothing."""
    attempt = start(folder, replace(setting, workers=0, torchrun=False))
    attempt.wait()
    if any(attempt.codes()):
        raise Wrong(f"{setting.name}: uninterrupted it ended with {attempt.codes()}")
    reads, firsts = [], []
    for rank in range(setting.processes):
        seen: list[list[str]] = []
        first = [0]
        for word, *rest in attempt.notes(rank):
            if word == "read":
                seen.append(rest)
            elif word == "step":
                first.append(len(seen))
        reads.append(seen)
        firsts.append(first)
    return Reference(result(folder / "run"), reads, firsts)


def result(run: Path) -> dict[str, Any]:
    """The results of a run that must be identical byte for byte."""
    state = resume_state.read_state(resume_state.states(run)[0].read_bytes(), torch.device("cpu"))
    history = json.loads((run / "history.json").read_text())
    for entry in (*history, *state["history"]):
        entry.pop("images_per_s")
    tensors = dict(resume_state.tensors_of(state))
    return {
        "weights": (run / "weights.safetensors").read_bytes(),
        "state": exchange.weights_sha256(tensors),
        "step": state["step"],
        "history": history,
        "history in the state": state["history"],
        "gaps": (run / "gaps.npz").read_bytes(),
        "unreadable": (run / "unreadable.tsv").read_bytes(),
    }


def torment(
    setting: Setting, kills: int, rng: random.Random, folder: Path, say: Callable = print
) -> Row:
    """Kills runs of a setting `kills` times, and compares each finished run with the reference.

    Raises:
        Wrong: the message says what went wrong.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "images").exists():
        render(folder / "images")
    (folder / "reference").mkdir()
    reference = refer(folder / "reference", setting)
    row = Row(setting.name)
    while not row.runs or row.killed < kills:
        place = folder / f"run{row.runs}"
        place.mkdir()
        to_its_end(setting, kills, rng, place, reference, row)
        found = result(place / "run")
        for what, expected in reference.result.items():
            if found[what] != expected:
                raise Wrong(f"{setting.name}, run {row.runs}: {what} differs, see {place}")
        left = [path.name for path in (place / "run").glob(".*")]
        if left:
            raise Wrong(f"{setting.name}, run {row.runs}: left behind: {left}")
        row.runs += 1
        say(f"  {setting.name}: run {row.runs} the same after {row.killed} kills", flush=True)
        shutil.rmtree(place)
    return row


def to_its_end(
    setting: Setting,
    kills: int,
    rng: random.Random,
    folder: Path,
    reference: Reference,
    row: Row,
) -> None:
    """One run to its end, killed on the way as long as kills are left."""
    reached = 0
    damaged: dict[Path, bytes] = {}  # damaged states, and their content
    pids: list[int] = []
    while True:
        plan = draw(rng, setting) if row.killed < kills else None
        kind = plan.kind if plan else ""
        expected = [step_of(p) for p in resume_state.states(folder / "run") if p not in damaged]
        attempt = start(folder, setting, *(plan.write if plan else ()))
        row.attempts += 1
        with open(folder / "plans", "a") as file:
            print(f"attempt {row.attempts}: {plan}", file=file)
        if plan is not None and kind != "in a write" and plan.moment(attempt):
            targets = attempt.pids()
            if setting.processes > 1 and not plan.all_processes:
                targets = [rng.choice(targets)] if targets else []
            attempt.send(plan.signal, targets, group=plan.group)
        attempt.wait()
        pids += attempt.pids()
        codes, notes = attempt.codes(), attempt.notes()
        if plan is not None and codes != [0] * len(codes):
            row.kills[kind] += 1
        check(setting, folder, attempt, reference, kind, codes, expected, damaged)
        if notes:
            row.redone += max(0, reached - int(notes[0][2]))
            reached = max([int(n[1]) for n in notes if n[0] == "step"], default=reached)
        if codes == [0] * len(codes):
            break
        for path, content in list(damaged.items()):
            if not path.exists() or path.read_bytes() != content:
                del damaged[path]
        states = resume_state.states(folder / "run")
        if len(states) == resume_state.KEEP and not damaged and rng.random() < 0.3:
            damaged[states[0]] = damage(states[0], rng)
            row.damaged += 1
    await_end(pids)


@dataclass(frozen=True)
class Plan:
    """When and how an attempt is killed."""

    kind: str  # of kill: a column of the table
    signal: int
    word: str  # the log entry to wait for: "step", "save", or "" for none
    count: int  # how many of these entries
    delay: float  # seconds after the last of them
    group: bool  # together with the loader processes
    all_processes: bool
    write: tuple[int, str] = (0, "")

    def moment(self, attempt: Attempt) -> bool:
        """Waits for the moment of the kill; False if the attempt has ended before."""
        while self.word and sum(n[0] == self.word for n in attempt.notes()) < self.count:
            if not attempt.running():
                return False
            time.sleep(0.001)
        time.sleep(self.delay)
        return attempt.running()


def draw(rng: random.Random, setting: Setting) -> Plan:
    kind = rng.choices(["SIGKILL", "in a write", "SIGTERM", "SIGUSR1"], [4, 1.5, 2, 1])[0]
    word, count = rng.choices(
        [("step", rng.randint(1, 7)), ("save", rng.randint(1, 3)), ("", 0)],
        [5, 3, 0 if setting.torchrun else 1],
    )[0]
    if setting.torchrun and kind == "in a write":
        kind = "SIGKILL"
    number = signal.SIGKILL if kind == "in a write" else signal.Signals[kind]
    write = (rng.randint(1, 3), rng.choice(["torn", "written", "renamed"]))
    return Plan(
        kind,
        number,
        word,
        count,
        delay=rng.uniform(0, DELAY if word else 1.5),
        group=number != signal.SIGKILL or rng.random() < 0.5,
        all_processes=rng.random() < 0.5,
        write=write if kind == "in a write" else (0, ""),
    )


def check(
    setting: Setting,
    folder: Path,
    attempt: Attempt,
    reference: Reference,
    kind: str,
    codes: list[int],
    expected: list[int],
    damaged: dict[Path, bytes],
) -> None:
    """Checks that an attempt started at the right step, read the right samples and saved."""
    where = f"{setting.name}, {folder.name}, after {kind or 'nothing'}"
    began = []
    for rank in range(setting.processes):
        notes = attempt.notes(rank)
        if not notes:
            continue
        step = int(notes[0][2])
        began.append(step)
        # a damaged state can still be valid: not every bit of its file has a meaning
        if step not in {max(expected, default=0), *map(step_of, damaged)}:
            raise Wrong(f"{where}: resumed from step {step}; the states were {expected}")
        seen = reference.reads[rank][: reference.first_read[rank][step]]
        due = reference.reads[rank][len(seen) :]
        read = [n[1:] for n in notes if n[0] == "read"]
        if setting.workers == 0 and read != due[: len(read)]:
            raise Wrong(f"{where}: from step {step} it read other samples than it should")
        if not {*map(tuple, read)}.isdisjoint(map(tuple, seen)):
            raise Wrong(f"{where}: from step {step} it read samples again")
    if len(set(began)) > 1:
        raise Wrong(f"{where}: the processes resumed from the steps {began}")
    for code in codes:
        killed = -code in (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1)
        # torchrun has its own exit status; a process whose peer was killed ends with an error
        if not (code in (0, 75) or killed or (setting.processes > 1 and code == 1)):
            raise Wrong(f"{where}: status {code}, see {folder}")
    if kind in ("", "SIGTERM", "SIGUSR1") and -signal.SIGKILL in codes:
        raise Wrong(f"{where}: statuses {codes}")
    if 75 in codes:
        if set(codes) != {75}:
            raise Wrong(f"{where}: statuses {codes}: only some processes have saved")
        steps = [int(n[1]) for n in attempt.notes() if n[0] in ("step", "save")]
        if step_of(resume_state.states(folder / "run")[0]) < max(steps):
            raise Wrong(f"{where}: it was told to stop and has not saved step {max(steps)}")


def step_of(state: Path) -> int:
    return int(state.stem.split("-")[1])


def damage(path: Path, rng: random.Random) -> bytes:
    """Truncates a file at a random position, or flips one random bit."""
    content = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        content = content[: rng.randrange(len(content))]
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return bytes(content)


def await_end(pids: list[int]) -> None:
    """Waits until the loader processes of killed attempts have ended by themselves.

    Raises:
        Wrong: they have not ended.
    """
    began = time.monotonic()
    while left := [pid for pid in pids if group_is_there(pid)]:
        if time.monotonic() - began > SETTLE:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            raise Wrong(f"the process groups {left} are alive after their leaders have ended")
        time.sleep(0.05)


def group_is_there(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def table(rows: list[Row]) -> Iterator[str]:
    kinds = ("SIGKILL", "in a write", "SIGTERM", "SIGUSR1")
    heads = (*kinds, "states damaged", "starts", "steps redone", "runs", "same bytes")
    yield "| setting | " + " | ".join(heads) + " |"
    yield "| :-- |" + " --: |" * len(heads)
    for row in rows:
        numbers = [*(row.kills[kind] for kind in kinds), row.damaged, row.attempts, row.redone]
        words = [row.setting, *map(str, [*numbers, row.runs, "yes"])]
        yield "| " + " | ".join(words) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", default="", help="part of the names of the settings: torchrun")
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.drive:
        drive(ordered(args.drive))
    print(f"--kills {args.kills} --seed {args.seed}", flush=True)
    chosen = [(s, share) for s, share in SETTINGS if args.only in s.name]
    whole = sum(share for _, share in chosen)
    rows, began = [], time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    for i, (setting, share) in enumerate(chosen):
        rng = random.Random(f"{args.seed} {setting.name}")
        kills = max(1, round(args.kills * share / whole))
        try:
            rows.append(torment(setting, kills, rng, folder / str(i)))
        except Wrong as error:
            print(f"WRONG: {error}", file=sys.stderr)
            return 1
    shutil.rmtree(folder)
    print("\n".join(table(rows)))
    kills = sum(row.killed for row in rows)
    print(f"{kills} kills in {time.monotonic() - began:.0f} s; each run ended with the same bytes")
    return 0


if __name__ == "__main__":
    from benchmarks import kills as this

    sys.exit(this.main())
