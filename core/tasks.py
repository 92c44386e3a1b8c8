"""Every task, declared once: who runs it, what it measures and keeps, what it can be asked.

The command line, the record, the store, the comparisons, the report and the plan iterate over
`TASKS`. A new task is an entry here, its module, its metric, a config and tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from core.metrics.statistic import PerImage

Unit = Literal["%", "loss", "1", "score"]
Data = Literal["classification", "detection", "segmentation"]

DETECTORS = ("c4", "fpn")  # files of configs/detect
# The modules that read boxes and masks, by a dataset's layout; pretrain.images reads the others.
LAYOUTS = {
    "voc": "downstream.detection.voc",
    "coco": "downstream.detection.coco",
    "ade20k": "downstream.segmentation.mask_datasets",
    "camvid": "downstream.segmentation.mask_datasets",
}


def _named(name: str) -> Any:
    """What "module:attribute" names."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


@dataclass(frozen=True)
class KeptFile:
    """A file beside a record with what was found in each test image.

    Attributes:
        name: of the file.
        reader: "module:function" from its path to a `core.metrics.statistic.PerImage`.
    """

    name: str
    reader: str

    def load(self, path: Path) -> PerImage:
        """What `path`, a file of this kind, has of each image."""
        return _named(self.reader)(path)


@dataclass(frozen=True)
class Metric:
    """One number of a task.

    Attributes:
        kept_in: the file with what it follows from, image by image, if there is one.
        statistic: its name among those of the file, where that is another.
        published: the table and the column of a paper that print it, where one does.
    """

    unit: Unit = "%"
    kept_in: KeptFile | None = None
    statistic: str = ""
    published: tuple[str, str] | None = None


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: a record's `stage`; opens the name of its directories.
        about: one line for the help text.
        entry: "module:function" that runs it; a downstream task's takes a `DownstreamRun`.
        command: the words after `trickbench` that start it.
        data: the kind of dataset that it reads.
        datasets: those of the papers that it is measured on; the first is the default. Probes
            have no default: name one.
        metrics: by name; the first is the headline.
        compared: the metrics by which backbones are compared downstream; none: not compared.
        choices: fields of `core.choices.Choices` that it takes beyond those of every task.
        curves: it trains, and so has learning curves, which can be tracked.
    """

    name: str
    about: str
    entry: str
    command: tuple[str, ...]
    data: Data
    datasets: tuple[str, ...]
    metrics: Mapping[str, Metric]
    compared: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    curves: bool = False

    @property
    def headline(self) -> str:
        return next(iter(self.metrics))

    @property
    def is_probe(self) -> bool:
        return self.command[0] == "probe"

    @property
    def makes_backbone(self) -> bool:
        return self.command[0] == "pretrain"

    @property
    def kept_in(self) -> KeptFile:
        """The file that the headline follows from."""
        kept = self.metrics[self.headline].kept_in
        assert kept is not None, self.name
        return kept

    def load(self) -> Callable[..., None]:
        """The function that runs it; its module is imported here."""
        return _named(self.entry)


CORRECT = KeptFile("correct.npz", "core.metrics.classification:load")
DETECTIONS = KeptFile("detections.npz", "core.metrics.detection:load")
INSTANCES = KeptFile("instances.npz", "core.metrics.instances:load")
CONFUSION = KeptFile("confusion.npz", "core.metrics.segmentation:load")
MULTI_SCALE_CONFUSION = KeptFile("confusion_ms.npz", "core.metrics.segmentation:load")

_ACCURACY = {"top1": Metric(kept_in=CORRECT), "top5": Metric(kept_in=CORRECT)}
_SOURCE = Metric(kept_in=CORRECT, published=("bag-of-tricks/8", "top1"))


def _probe(name: str, module: str, about: str, **changes: Any) -> Task:
    fields: dict[str, Any] = dict(
        name=name,
        about=about,
        entry=f"downstream.probes.{module}:run",
        command=("probe", "--mode", name),
        data="classification",
        datasets=(),
        metrics=_ACCURACY,
        compared=("top1",),
        choices=("arch", "train_size"),
    )
    return Task(**fields | changes)


_ALL = (
    Task(
        name="pretrain",
        about="train a backbone by a recipe",
        entry="pretrain.__main__:start",
        command=("pretrain",),
        data="classification",
        datasets=("imagenet",),
        metrics=_ACCURACY | {"top1": _SOURCE},
        choices=("arch",),
        curves=True,
    ),
    Task(
        name="evaluate",
        about="accuracy of a checkpoint and its classifier, at any resolutions and crop ratios",
        entry="downstream.probes.resolution_sweep:run",
        command=("evaluate",),
        data="classification",
        datasets=("imagenet",),
        metrics=_ACCURACY,
        choices=("arch", "images", "resolutions", "crop_ratios"),
    ),
    Task(
        name="detect",
        about="Faster R-CNN on a backbone, on data in VOC's layout",
        entry="downstream.detection.faster_rcnn:run",
        command=("detect",),
        data="detection",
        datasets=("voc",),
        metrics={
            "map": Metric(kept_in=DETECTIONS, published=("bag-of-tricks/8", "map")),
            "map_all_point": Metric(kept_in=DETECTIONS),
            "ap_coco": Metric(),
        },
        compared=("map",),
        choices=("arch", "detector"),
        curves=True,
    ),
    Task(
        name="instances",
        about="Mask R-CNN on a backbone, on data in COCO's layout",
        entry="downstream.detection.mask_rcnn:run",
        command=("instances",),
        data="detection",
        datasets=("coco",),
        metrics={
            "mask_ap": Metric(kept_in=INSTANCES),
            "mask_ap50": Metric(kept_in=INSTANCES),
            "box_ap": Metric(kept_in=INSTANCES),
            "box_ap50": Metric(kept_in=INSTANCES),
        },
        compared=("mask_ap",),
        choices=("arch", "detector"),
        curves=True,
    ),
    Task(
        name="segment",
        about="dilated FCN on a backbone, on data in ADE20K's or CamVid's layout",
        entry="downstream.segmentation.fcn:run",
        command=("segment",),
        data="segmentation",
        datasets=("ade20k",),
        metrics={
            "miou": Metric(kept_in=CONFUSION, published=("bag-of-tricks/9", "miou")),
            "pix_acc": Metric(kept_in=CONFUSION, published=("bag-of-tricks/9", "pix_acc")),
            "miou_ms": Metric(kept_in=MULTI_SCALE_CONFUSION, statistic="miou"),
            "pix_acc_ms": Metric(kept_in=MULTI_SCALE_CONFUSION, statistic="pix_acc"),
        },
        compared=("miou", "pix_acc"),
        choices=("arch",),
        curves=True,
    ),
    _probe("linear", "linear", "logistic regression on frozen features"),
    _probe(
        "linear-sgd", "finetune", "the classifier alone, by SGD on augmented images", curves=True
    ),
    _probe(
        "knn", "knn", "k-NN classification on frozen features", metrics={"top1": _ACCURACY["top1"]}
    ),
    _probe("finetune", "finetune", "full fine-tuning", curves=True),
    _probe(
        "transferability",
        "transferability",
        "LogME, H-score and held-out k-NN accuracy of frozen features",
        metrics={"logme": Metric("score"), "h_score": Metric("score"), "knn": Metric()},
        compared=(),
    ),
)
TASKS: Mapping[str, Task] = {task.name: task for task in _ALL}
PROBES = tuple(task.name for task in _ALL if task.is_probe)
COMPARED = tuple(task.name for task in _ALL if task.compared)


def about(command: str) -> str:
    """The line of help of a command of `trickbench`."""
    first, *others = of_command(command)
    return (
        "probe a frozen backbone (linear, k-NN, scores), or fine-tune it" if others else first.about
    )


def of_command(command: str) -> list[Task]:
    """The tasks that a command of `trickbench` starts: several for `probe`, else one."""
    return [task for task in _ALL if task.command[0] == command]
