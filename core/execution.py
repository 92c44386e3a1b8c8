"""One run of a task: its directory, whether it is finished, and its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core import choices as naming
from core import configs, files, record, runs
from core.choices import Choices
from core.errors import InputError
from core.runtime import distributed
from core.tasks import Task

COMMON = ("variant", "backbone", "dataset", "cfg_options", "limit")  # choices of every task


def unfinished(out: Path, identity: str, product: str = "record.json") -> bool:
    """Opens a run directory, and says whether something is left to do in it.

    Args:
        identity: a hash of everything that decides the result. The directory of another run is
            renamed.
        product: the file that the run writes last.

    Raises:
        InputError: another process is at work in the directory.
    """

    def opened() -> str:
        if holder := runs.claim(out):
            raise InputError(f"{out}: another run is at work there ({holder})")
        return runs.begin(out, identity, product)

    state = distributed.from_first(opened)
    if distributed.rank() == 0:
        print(f"{out}: {state if state == 'finished' else state + ' run'}", flush=True)
    return state != "finished"


@dataclass(frozen=True)
class Run:
    """A task with what the user chose, and where things are.

    Attributes:
        runs, data: the folders of all runs and of all datasets.
        workers: loader processes per device.
        track: where learning curves go besides TensorBoard: "wandb", "mlflow".
        argv: the command's words, as typed.
    """

    task: Task
    choices: Choices
    protocol: str
    seed: int
    runs: Path
    data: Path
    workers: int = 0
    track: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def name(self) -> str:
        """The task with its choices: the directory of its records."""
        return naming.directory(self.task, self.choices)

    @property
    def row(self) -> str:
        """The backbone: the directory below."""
        return naming.row_label(self.task, self.choices)

    @property
    def out(self) -> Path:
        """The run directory."""
        return runs.run_folder(self.runs, self.protocol, self.name, self.row, self.seed)

    @property
    def options(self) -> list[str]:
        """The settings that the user changed, as key=value."""
        limit, few = self.choices.limit, self.choices.train_size
        return [
            *self.choices.cfg_options,
            *([] if limit is None else [f"limit={limit}"]),
            *([] if few is None else [f"train_size={few}"]),
        ]

    def check_choices(self) -> None:
        """Whether a task takes these choices together.

        Raises:
            InputError: it does not.
        """
        task, chosen = self.task, self.choices
        for key in chosen.given():
            if key not in (*COMMON, *task.choices):
                raise InputError(f"{task.name} takes no --{key.replace('_', '-')}")
        if task.makes_backbone and chosen.variant is None:
            raise InputError(f"{task.name} takes a recipe, not {chosen.backbone}")
        if chosen.backbone is not None and chosen.arch is not None:
            raise InputError(
                f"--arch changes a recipe; {chosen.backbone} names its own architecture"
            )
        if task.name == "evaluate" and chosen.cfg_options:
            raise InputError("evaluate does not accept --cfg-options")
        if chosen.images is not None and chosen.dataset is not None:
            raise InputError(f"--images {chosen.images} or --dataset {chosen.dataset}, not both")
        if self.track and not task.curves:
            raise InputError(f"--track: {task.name} has no learning curves to send")

    def dataset_role(self) -> str | None:
        """The dataset that the user or the task names; None if `images` names a folder.

        Raises:
            InputError: neither names one.
        """
        if self.choices.images is not None:
            return None
        if self.choices.dataset is None and not self.task.datasets:
            known = configs.read_protocol(self.protocol).datasets
            raise InputError(f"name the dataset to probe on (DATASET=): {', '.join(sorted(known))}")
        return self.choices.dataset or self.task.datasets[0]

    def unfinished(self, decides: Sequence[Any], product: str = "record.json") -> bool:
        """`unfinished`; `decides` is all that decides it besides name, protocol and seed."""
        identity = configs.digest([self.name, self.protocol, self.seed, *decides])
        return unfinished(self.out, identity, product)

    def finish(
        self,
        *,
        dataset: record.Dataset,
        backbone: record.Backbone,
        metrics: Mapping[str, record.Metric],
        config: Mapping[str, Any],
        cost: record.Cost,
        chosen: Mapping[str, Any] | None = None,
        outputs: Sequence[Path] = (),
        teacher_sha256: str | None = None,
    ) -> None:
        """Writes the record, and a line that says what was measured.

        Args:
            config: the merged settings that decided the result.
            chosen: what was chosen on held-out data, and its scores there.
            outputs: files beside the record, which names them with their SHA-256.

        Raises:
            OSError: the disk is full or the folder cannot be written.
        """
        finished = record.Record(
            stage=self.task.name,
            task=self.name,
            recipe=self.row,
            choices=self.choices,
            argv=list(self.argv),
            protocol=self.protocol,
            seed=self.seed,
            dataset=dataset,
            backbone=backbone,
            teacher_sha256=teacher_sha256,
            metrics=dict(metrics),
            config=dict(config),
            chosen=dict(chosen or {}),
            outputs={path.name: files.sha256_of(path) for path in outputs},
            cost=cost,
            versions=record.versions(),
            git=record.git_state(Path(__file__).parent),
            started=self.started,
            finished=datetime.now(UTC),
        )
        record.write(finished, self.out / "record.json")
        print(summary(finished), flush=True)


def summary(finished: record.Record) -> str:
    """What was measured, on how many images, under which protocol, in one line."""
    # of an evaluation at many resolutions only the checkpoint's own; its table has the others
    own = {name: it for name, it in finished.metrics.items() if "@" not in name}
    shown = own or finished.metrics
    numbers = ", ".join(f"{name} {it.value:.2f} {it.unit}" for name, it in shown.items())
    first = next(iter(shown.values()))
    return (
        f"{finished.task} with {finished.recipe} ({finished.backbone.architecture}), "
        f"{finished.protocol} protocol: {numbers} on {first.samples} {first.split} images of "
        f"{finished.dataset.name}"
    )
