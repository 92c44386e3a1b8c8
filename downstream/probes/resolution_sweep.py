"""Accuracy of a checkpoint and its own classifier, at any resolutions and crop ratios, in one pass.

Each image is decoded once, by Pillow, and resized and cropped for every geometry: the shorter side
to floor(resolution / crop ratio), then the central square. That is timm's `create_transform` with
crop_mode "center", and so is the accuracy, to the last image (tests/downstream/test_evaluate.py).
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

BATCH = 256  # images; fewer where their pixels in all geometries would be more than BATCH_BYTES
BATCH_BYTES = 2**27


@dataclass(frozen=True, order=True)
class Geometry:
    """What a model sees of an image; as text it is "224/0.95".

    Attributes:
        resolution: pixels of the side of a central square.
        crop_ratio: that side over the shorter side of the resized image, in (0, 1].
    """

    resolution: int
    crop_ratio: float

    def __str__(self) -> str:
        return f"{self.resolution}/{self.crop_ratio}"


def own_geometry(about: Exchange) -> Geometry:
    """What a checkpoint was evaluated at on its source task."""
    return Geometry(about.resolution, about.crop_ratio)


def geometries(
    resolutions: Sequence[int], crop_ratios: Sequence[float], own: Geometry
) -> list[Geometry]:
    """Every resolution with every crop ratio; `own`'s in place of an empty list.

    Raises:
        InputError: a resolution below 1, or a crop ratio that is not in (0, 1].
    """
    for wrong in (*(r for r in resolutions if r < 1), *(c for c in crop_ratios if not 0 < c <= 1)):
        raise InputError(f"{wrong}: resolutions are 1 or more, crop ratios in (0, 1]")
    pairs = product(resolutions or [own.resolution], crop_ratios or [own.crop_ratio])
    return sorted({Geometry(*pair) for pair in pairs})


class Views(loader.EvaluationView):
    """An image set's samples in every geometry, their pixels end to end in one row of bytes.

    In the label's place is the sample's number, or -1 for a file that cannot be read.
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

    def apart(self, rows: Tensor) -> list[Tensor]:
        """Rows [n, P] of a batch as uint8 [n, 3, resolution, resolution] for each geometry."""
        parts = zip(rows.split(self.lengths, dim=1), self.wanted, strict=True)
        return [part.reshape(-1, 3, g.resolution, g.resolution) for part, g in parts]


@dataclass(frozen=True)
class Predictions:
    """What a model makes of N images in G geometries.

    Attributes:
        top: int64 [N, G, 5] of class indices, the best first (of fewer classes, all of them), -1
            where an image cannot be read.
        gaps: float32 [N], between the logits (`logit_gap`) at the checkpoint's own geometry; 0
            where that is not wanted, or an image cannot be read.
        problems: the images that cannot be read, with the reasons.
    """

    top: np.ndarray
    gaps: np.ndarray
    problems: loader.Problems


@torch.no_grad()
def predict(
    loaded: Loaded, images: ImageSet, wanted: Sequence[Geometry], workers: int, device: torch.device
) -> Predictions:
    """Each image is seen once, by one of the processes."""
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
        places = numbers[readable].to(device)
        if not len(places):
            continue
        for i, crops in enumerate(view.apart(rows[readable].to(device, non_blocking=True))):
            pixels = transforms.normalise(crops.float() / 255, about.mean, about.std)
            try:
                logits = model(pixels)
            except AssertionError as error:  # of a transformer whose patches do not fit
                raise InputError(f"{about.architecture} at {wanted[i]}: {error}") from error
            found[places, i] = 1 + logits.topk(shape[2], dim=1).indices
            if wanted[i] == own_geometry(about):
                gaps[places] = torch.from_numpy(logit_gap.gaps(logits.cpu().numpy())).to(gaps)
    return Predictions(
        top=(distributed.sum_over_processes(found) - 1).cpu().numpy(),
        gaps=distributed.sum_over_processes(gaps).cpu().numpy(),
        problems=sorted(one for part in distributed.from_all(mine) for one in part),
    )


def measured(
    top: np.ndarray, answers: np.ndarray, wanted: Sequence[Geometry], own: Geometry, **about: str
) -> dict[str, record.Metric]:
    """A record's metrics: "top1@224/0.95" is at 224 pixels and a crop ratio of 0.95.

    "top1" and "top5" are those of the checkpoint's own geometry, if it is among the wanted.

    Args:
        top: int [N, G, 5]; answers: int [N, A], as `right_answers` wants them.
        about: the `split`, and the `detail` that all have in common.
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


def keep(
    folder: Path,
    found: Predictions,
    answers: np.ndarray,
    wanted: Sequence[Geometry],
    own: Geometry,
) -> list[Path]:
    """Writes correct.npz and gaps.npz of the checkpoint's own geometry, if it is among the wanted.

    Args:
        answers: int [N, A], as `right_answers` wants them.
    """
    if own not in wanted:
        return []
    right, counted = right_answers(found.top[:, wanted.index(own)], answers)
    return [
        classification.save(folder, right, counted),
        logit_gap.save(folder, found.gaps[counted]),
    ]


def table(metrics: Mapping[str, record.Metric], wanted: Sequence[Geometry]) -> str:
    """Resolutions by crop ratios, each cell "top-1 / top-5" in percent."""
    ratios = sorted({geometry.crop_ratio for geometry in wanted})
    lines = ["resolution" + "".join(f"{f'crop ratio {ratio}':>20}" for ratio in ratios)]
    for side in sorted({geometry.resolution for geometry in wanted}):
        keys = [f"{side}/{ratio}" for ratio in ratios]
        both = [[metrics[f"top{k}@{key}"].value for k in (1, 5)] for key in keys]
        lines.append(f"{side:>10}" + "".join(f"{a:>11.2f} / {b:>6.2f}" for a, b in both))
    samples = next(iter(metrics.values())).samples
    return "\n".join([f"top-1 / top-5 in % of {samples} images", *lines])


def check_classes(source: str, about: Exchange, images: ImageSet, labels_of: str) -> None:
    """A classifier's classes must be the set's, in its order: as far as the checkpoint knows it.

    Raises:
        InputError: random weights, another number of classes, or a classifier of another set.
    """
    wrong = None
    if not about.pretrained:
        wrong = "random weights have no classifier to evaluate"
    elif about.classes != (classes := len(images.classes)):
        wrong = f"its classifier has {about.classes} classes, and {images.name} has {classes}"
    elif about.dataset and labels_of and about.dataset != labels_of:
        wrong = f"its classes are those of {about.dataset}, and {images.name} has {labels_of}'s"
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


def run(run: DownstreamRun) -> None:
    """Evaluates, prints a table, writes the record; a finished evaluation is not repeated.

    Raises:
        InputError: data, checkpoint or options do not fit, or an image to predict for is damaged.
    """
    began = time.perf_counter()
    about, dataset, limit = exchange.read_about(run.exchange), run.dataset, run.choices.limit
    own = own_geometry(about)
    wanted = geometries(run.choices.resolutions, run.choices.crop_ratios, own)
    to_predict = None
    if run.predictions is not None:
        if len(wanted) > 1 or limit or not dataset or run.predictions.is_dir():
            raise InputError(
                "--predictions FILE is for a whole data set at one resolution and one crop ratio"
            )
        to_predict = datasets.load_unlabelled(dataset, run.data)
    whole = (
        datasets.load(dataset, run.data, "test")
        if dataset
        else datasets.load_folder(Path(run.choices.images or ""))
    )
    images = splits.random_subset(whole, limit, run.seed)
    answers = datasets.correct_classes(images) if dataset else images.labels[:, None]
    labels_of = configs.config(dataset).get("labels_of", dataset) if dataset else ""
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
                write_unreadable(run.out, found.problems)
                for path, reason in found.problems:
                    print(f"{path}: not a readable image ({reason}), left out")
                metrics = measured(
                    found.top, answers, wanted, own, split=images.split, detail=detail
                )
                wall = time.perf_counter() - began
                cost = distributed.cost(device, wall, len(images) / seconds)
                described = datasets.described(fingerprint, images)
                finish(
                    *(run, loaded, []),
                    dataset=described,
                    config=config,
                    metrics=metrics,
                    cost=cost,
                    outputs=keep(run.out, found, answers, wanted, own),
                )
                print(table(metrics, wanted))
        if to_predict is not None:
            found = predict(loaded, to_predict, wanted, run.workers, device)
            if found.problems:
                path, reason = found.problems[0]
                raise InputError(
                    f"{len(found.problems)} images to predict for cannot be read, and a line each "
                    f"is wanted; first {path}: {reason}"
                )
            if distributed.rank() == 0 and run.predictions is not None:
                lines = datasets.submission(to_predict, found.top[:, 0])
                files.write_atomically(run.predictions, lines.encode())
                print(f"wrote predictions for {len(found.top)} images to {run.predictions}")
