"""Accuracy of a checkpoint with its own classifier, at several resolutions and crop ratios.

Each image is decoded once, by Pillow, then resized and cropped for every geometry: the shorter side
to floor(resolution / crop ratio), then the central square. Transform and accuracy equal those of
timm's `create_transform` with crop_mode "center".
Sources: ResNet strikes back, figure 4 and table 9; Are we done with ImageNet? (arXiv 2006.07159).
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import timm
import torch
from torch import Tensor

from core import configs, exchange, files, record
from core.errors import InputError
from core.exchange import Exchange
from core.metrics import classification, logit_gap
from core.metrics.classification import right_answers
from core.runtime import distributed
from downstream.backbones import timm_features
from downstream.backbones.timm_features import Loaded
from downstream.task import DownstreamRun, finish
from pretrain.images import datasets, decode, loader, splits, transforms
from pretrain.images.datasets import ImageSet
from pretrain.training.trainer import write_unreadable

BATCH = 256  # images; fewer if their pixels in all geometries exceed BATCH_BYTES
BATCH_BYTES = 2**27


@dataclass(frozen=True, order=True)
class Geometry:
    """Resolution and crop of a model's input; as text "224/0.95".

    Attributes:
        resolution: pixels of the side of a central square.
        crop_ratio: that side over the shorter side of the resized image, in (0, 1].
    """

    resolution: int
    crop_ratio: float

    def __str__(self) -> str:
        return f"{self.resolution}/{self.crop_ratio}"


def own_geometry(about: Exchange) -> Geometry:
    """The geometry a checkpoint was evaluated at on its source task."""
    return Geometry(about.resolution, about.crop_ratio)


def geometries(
    resolutions: Sequence[int], crop_ratios: Sequence[float], own: Geometry
) -> list[Geometry]:
    """Every resolution with every crop ratio; an empty list means that of `own`.

    Raises:
        InputError: a resolution below 1, or a crop ratio not in (0, 1].
    """
    for wrong in (*(r for r in resolutions if r < 1), *(c for c in crop_ratios if not 0 < c <= 1)):
        raise InputError(f"{wrong}: expected resolutions of 1 or more, and crop ratios in (0, 1]")
    pairs = product(resolutions or [own.resolution], crop_ratios or [own.crop_ratio])
    return sorted({Geometry(*pair) for pair in pairs})


class Views(loader.EvaluationView):
    """An image set's samples in every geometry, their pixels concatenated in one row of bytes.

    Instead of the label, a sample has its index, or -1 if its file cannot be read.
    """

    def __init__(self, images: ImageSet, wanted: Sequence[Geometry], interpolation: str) -> None:
        self.images, self.wanted, self.interpolation = images, wanted, interpolation
        self.lengths = [3 * geometry.resolution**2 for geometry in wanted]

    def __getitem__(self, index: int) -> loader.Sample:
        try:
            image = decode.full_image(self.images.source(index))
        except decode.Unreadable as error:
            nothing = torch.zeros(sum(self.lengths), dtype=torch.uint8)
            return nothing, -1, [(self.images.path(index), str(error))]
        views = [
            transforms.for_evaluation(image, g.resolution, g.crop_ratio, self.interpolation)
            for g in self.wanted
        ]
        return torch.cat([view.flatten() for view in views]), index, []

    def split(self, rows: Tensor) -> list[Tensor]:
        """Splits a batch's rows [n, P] into uint8 [n, 3, resolution, resolution] per geometry."""
        parts = zip(rows.split(self.lengths, dim=1), self.wanted, strict=True)
        return [part.reshape(-1, 3, g.resolution, g.resolution) for part, g in parts]


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for N images in G geometries.

    Attributes:
        top: int64 [N, G, 5] class indices, best first (fewer if the model has fewer classes), -1
            for images that cannot be read.
        gaps: float32 [N], logit gaps (`logit_gap`) at the checkpoint's own geometry; 0 if it is not
            evaluated or the image cannot be read.
        problems: the images that cannot be read, with the reasons.
    """

    top: np.ndarray
    gaps: np.ndarray
    problems: loader.Problems


@torch.no_grad()
def predict(
    loaded: Loaded, images: ImageSet, wanted: Sequence[Geometry], workers: int, device: torch.device
) -> Predictions:
    """Predicts every image in every geometry; the processes share the images."""
    about = loaded.about
    model = loaded.model.to(device, memory_format=torch.channels_last).eval()
    view = Views(images, wanted, about.interpolation)
    size = max(1, min(BATCH, BATCH_BYTES // sum(view.lengths)))
    shape = (len(images), len(wanted), min(5, about.classes))
    found = torch.zeros(shape, dtype=torch.int64, device=device)  # class + 1, so that 0 is none
    gaps = torch.zeros(len(images), device=device)
    mine: loader.Problems = []
    batches = loader.evaluation(view, size, workers, distributed.rank(), distributed.world())
    for rows, numbers, problems in loader.batches_of(batches):
        mine += problems
        readable = numbers >= 0
        indices = numbers[readable].to(device)
        if not len(indices):
            continue
        for i, crops in enumerate(view.split(rows[readable].to(device, non_blocking=True))):
            pixels = transforms.normalise(crops.float() / 255, about.mean, about.std)
            try:
                logits = model(pixels)
            except AssertionError as error:  # a transformer whose patches do not fit the size
                raise InputError(f"{about.architecture} at {wanted[i]}: {error}") from error
            found[indices, i] = 1 + logits.topk(shape[2], dim=1).indices
            if wanted[i] == own_geometry(about):
                gaps[indices] = torch.from_numpy(logit_gap.gaps(logits.cpu().numpy())).to(gaps)
    return Predictions(
        top=(distributed.sum_over_processes(found) - 1).cpu().numpy(),
        gaps=distributed.sum_over_processes(gaps).cpu().numpy(),
        problems=sorted(one for part in distributed.from_all(mine) for one in part),
    )


def metrics_by_geometry(
    top: np.ndarray, answers: np.ndarray, wanted: Sequence[Geometry], own: Geometry, **about: str
) -> dict[str, record.Metric]:
    """A record's metrics: "top1@224/0.95" is at 224 pixels and a crop ratio of 0.95.

    "top1" and "top5" are those of the checkpoint's own geometry, if it is evaluated.

    Args:
        top: int [N, G, 5]; answers: int [N, A], as in `right_answers`.
        about: the `split`, and the `detail` that all metrics share.
    """
    short: dict[str, record.Metric] = {}
    found: dict[str, record.Metric] = {}
    for i, geometry in enumerate(wanted):
        shorter = math.floor(geometry.resolution / geometry.crop_ratio)
        detail = f"shorter side {shorter}, central crop {geometry.resolution}, {about['detail']}"
        right, _ = right_answers(top[:, i], answers)
        both = classification.metrics(right, about["split"], detail)
        found |= {f"{name}@{geometry}": metric for name, metric in both.items()}
        if geometry == own:
            short = both
    return short | found


def save_outputs(
    folder: Path,
    found: Predictions,
    answers: np.ndarray,
    wanted: Sequence[Geometry],
    own: Geometry,
) -> list[Path]:
    """Writes correct.npz and gaps.npz of the checkpoint's own geometry, if it is evaluated.

    Args:
        answers: int [N, A], as in `right_answers`.
    """
    if own not in wanted:
        return []
    right, counted = right_answers(found.top[:, wanted.index(own)], answers)
    return [
        classification.save(folder, right, counted),
        logit_gap.save(folder, found.gaps[counted]),
    ]


def table(metrics: Mapping[str, record.Metric], wanted: Sequence[Geometry]) -> str:
    """A table of resolutions by crop ratios; each cell is "top-1 / top-5" in percent."""
    ratios = sorted({geometry.crop_ratio for geometry in wanted})
    lines = ["resolution" + "".join(f"{f'crop ratio {ratio}':>20}" for ratio in ratios)]
    for side in sorted({geometry.resolution for geometry in wanted}):
        keys = [f"{side}/{ratio}" for ratio in ratios]
        both = [[metrics[f"top{k}@{key}"].value for k in (1, 5)] for key in keys]
        lines.append(f"{side:>10}" + "".join(f"{a:>11.2f} / {b:>6.2f}" for a, b in both))
    samples = next(iter(metrics.values())).samples
    return "\n".join([f"top-1 / top-5 in % of {samples} images", *lines])


def check_classes(source: str, about: Exchange, images: ImageSet, labels_of: str) -> None:
    """Checks that the classifier has the dataset's classes, as far as the checkpoint records them.

    Raises:
        InputError: random weights, another number of classes, or a classifier of another dataset.
    """
    wrong = None
    if not about.pretrained:
        wrong = "random weights have no classifier to evaluate"
    elif about.classes != (classes := len(images.classes)):
        wrong = f"its classifier has {about.classes} classes, but {images.name} has {classes}"
    elif about.dataset and labels_of and about.dataset != labels_of:
        wrong = f"its classes are those of {about.dataset}, but {images.name} has {labels_of}'s"
    if wrong:
        raise InputError(f"{source}: {wrong}")


def load(path: Path, about: Exchange, wanted: Sequence[Geometry]) -> Loaded:
    """A whole model; a transformer's position embeddings are interpolated to other resolutions."""
    settings = timm.get_pretrained_cfg(about.architecture)
    if settings is None or not settings.fixed_input_size:
        return timm_features.load(path)
    others = any(geometry.resolution != about.resolution for geometry in wanted)
    more = {"dynamic_img_size": True} if others else {}
    return timm_features.load(path, img_size=about.resolution, **more)


def load_images(run: DownstreamRun) -> tuple[ImageSet, np.ndarray]:
    """The images to evaluate on, and the correct classes int [N, A] of each."""
    if run.dataset:
        whole = datasets.load(run.dataset, run.data, "test")
    else:
        whole = datasets.load_folder(Path(run.choices.images or ""))
    images = splits.random_subset(whole, run.choices.limit, run.seed)
    return images, datasets.correct_classes(images) if run.dataset else images.labels[:, None]


def load_unlabelled(run: DownstreamRun, wanted: Sequence[Geometry]) -> ImageSet | None:
    """The test server's images for `--predictions`; None without that option.

    Raises:
        InputError: options that `--predictions` excludes, or a directory instead of a file.
    """
    if run.predictions is None:
        return None
    if len(wanted) > 1 or run.choices.limit or not run.dataset or run.predictions.is_dir():
        raise InputError(
            "--predictions FILE needs a whole dataset (no --limit, no --images), one resolution "
            "and one crop ratio"
        )
    return datasets.load_unlabelled(run.dataset, run.data)


def run(run: DownstreamRun) -> None:
    """Evaluates, prints a table, writes the record; a finished evaluation is not repeated.

    Raises:
        InputError: data, checkpoint or options do not fit, or an image to predict for is damaged.
    """
    began = time.perf_counter()
    about = exchange.read_about(run.exchange)
    own = own_geometry(about)
    wanted = geometries(run.choices.resolutions, run.choices.crop_ratios, own)
    unlabelled = load_unlabelled(run, wanted)
    images, answers = load_images(run)
    labels_of = configs.config(run.dataset).get("labels_of", run.dataset) if run.dataset else ""
    check_classes(run.source, about, images, labels_of)
    loaded = load(run.exchange, about, wanted)
    fingerprint = hashlib.sha256(
        datasets.fingerprint(images).encode() + answers.tobytes()
    ).hexdigest()
    pixels = dict(interpolation=about.interpolation, mean=list(about.mean), std=list(about.std))
    config = dict(geometries=[asdict(geometry) for geometry in wanted], **pixels)
    detail = about.interpolation + (", any of its labels" if answers.shape[1] > 1 else "")
    with distributed.process_group() as device:
        if run.unfinished([config, loaded.sha256, fingerprint]):
            predicting = time.perf_counter()
            found = predict(loaded, images, wanted, run.workers, device)
            seconds = time.perf_counter() - predicting
            if distributed.rank() == 0:
                report_unreadable(run.out, found.problems)
                metrics = metrics_by_geometry(
                    found.top, answers, wanted, own, split=images.split, detail=detail
                )
                wall = time.perf_counter() - began
                finish(
                    *(run, loaded, []),
                    dataset=datasets.described(fingerprint, images),
                    config=config,
                    metrics=metrics,
                    cost=distributed.cost(device, wall, len(images) / seconds),
                    outputs=save_outputs(run.out, found, answers, wanted, own),
                )
                print(table(metrics, wanted))
        if unlabelled is not None:
            write_predictions(
                run, unlabelled, predict(loaded, unlabelled, wanted, run.workers, device)
            )


def report_unreadable(folder: Path, problems: loader.Problems) -> None:
    """Prints and saves the images that cannot be read, with the reasons."""
    write_unreadable(folder, problems)
    for path, reason in problems:
        print(f"{path}: not a readable image ({reason}), left out")


def write_predictions(run: DownstreamRun, images: ImageSet, found: Predictions) -> None:
    """Writes the test server's file.

    Raises:
        InputError: an image cannot be read; the server expects a line for every image.
    """
    if found.problems:
        path, reason = found.problems[0]
        raise InputError(
            f"{len(found.problems)} images to predict for cannot be read, but the test server "
            f"expects a line for each; first {path}: {reason}"
        )
    if distributed.rank() == 0 and run.predictions is not None:
        lines = datasets.submission(images, found.top[:, 0])
        files.write_atomically(run.predictions, lines.encode())
        print(f"wrote predictions for {len(found.top)} images to {run.predictions}")
