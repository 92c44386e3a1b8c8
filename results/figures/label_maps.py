"""What several segmenters make of the same pictures, side by side with what is there.

A run keeps no label maps, but its last state has the weights: they are loaded once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from core.record import Record
from core.runs import run_folder
from results.figures.drawing import Material, NothingMeasuredError, Plot, figure_of, plot
from results.figures.side_by_side import (
    PICTURES,
    PIXELS,
    evenly,
    grid,
    of_each,
    of_same_data,
    opened,
    seeds_of,
)

STATE = "state-*.pt"
MOST_NAMED = 12  # classes in the legend, those of most pixels

Labels = NDArray[np.integer]  # [H, W]; what is no class of the set is not labelled


@dataclass(frozen=True)
class Segmented:
    """A picture's label maps: what is there, and what each backbone says."""

    name: str
    file: Path
    truth: Labels
    guesses: Mapping[str, Labels]


def segmentations(material: Material) -> Plot:
    """The same pictures for each segmenter, a row each.

    Raises:
        NothingMeasuredError: no run kept its state, or data or weights are not here.
    """
    found = of_same_data(material.records, "segment", STATE)
    run = next(iter(found.values()))[1]
    if material.data is None:
        raise NothingMeasuredError(f"needs the pictures of {run.dataset.name}: --data DIR")
    maps, left_out = of_each(found, partial(segmented, data_root=material.data))
    seen: dict[str, tuple[Path, Labels, dict[str, Labels]]] = {}
    for name, rows in maps.items():
        for file, truth, guess in rows:
            seen.setdefault(file.stem, (file, truth, {}))[2][name] = guess
    pictures = [Segmented(name, *it) for name, it in seen.items()]
    runs = {name: found[name][1] for name in maps}
    drawn = draw(pictures, _class_names(run, material.data), runs, material.protocol)
    return replace(drawn, caption=drawn.caption + left_out)


def segmented(path: Path, run: Record, data_root: Path) -> list[tuple[Path, Labels, Labels]]:
    """A few test pictures, evenly over the set: their files, truth and what a run's model says.

    Raises:
        NothingMeasuredError: the data or the weights are not here, damaged, or not the record's.
    """
    # torch and mmseg take seconds to import, and only this needs them
    import torch
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import DATASETS, MODELS

    from core import configs
    from core.errors import InputError
    from core.runtime import resume_state
    from downstream import task as tasks
    from downstream.openmmlab import compat
    from downstream.segmentation import fcn

    compat.prepare("mmseg")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        task = tasks.Task(
            *("segment", run.task, run.recipe, run.backbone.source, exchange_of(path, run)),
            *(run.protocol, run.seed, path.parent),
        )
        cfg = fcn.build_config(task, configs.config(run.dataset.name), data_root)
        state = resume_state.load_state(path.parent, device)
    except InputError as error:
        raise NothingMeasuredError(str(error)) from error
    if state is None:
        raise NothingMeasuredError(f"{path.parent} has no state")
    model = MODELS.build(cfg.model).to(device).eval()
    try:
        model.load_state_dict(state["state_dict"])
    except (KeyError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise NothingMeasuredError(f"{path.parent}: its state does not fit ({reason})") from error
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    rows = []
    for place in evenly([str(i) for i in range(len(dataset))], PICTURES):
        try:
            inputs = pseudo_collate([dataset[int(place)]])
        except Exception as error:  # mmseg has no one exception for a damaged file
            file = dataset.get_data_info(int(place))["img_path"]
            raise NothingMeasuredError(
                f"{file} or its label map: not readable ({error})"
            ) from error
        with torch.no_grad():
            (sample,) = model.test_step(inputs)
        truth, guess = (
            part.data.squeeze(0).cpu().numpy() for part in (sample.gt_sem_seg, sample.pred_sem_seg)
        )
        rows.append((Path(sample.img_path), truth, guess))
    return rows


def exchange_of(path: Path, run: Record) -> Path:
    """Where the exchange file lies that a run started from; it says how the model is built.

    Raises:
        InputError: it is not here, or its weights are not those that the record names.
    """
    from core import exchange
    from core.errors import InputError
    from downstream.backbones import sources

    file = sources.exchange_file(run.backbone.source)  # used where it lies
    if file is None:
        task = "pretrain" if run.backbone.source.startswith("recipe:") else "backbones"
        folder = run_folder(path.parents[4], run.protocol, task, run.recipe, run.seed)
        file = folder / "backbone.safetensors"
    tensors, _ = exchange.load_exchange(file)
    if (actual := exchange.weights_sha256(tensors)) != run.backbone.sha256:
        stated = run.backbone.sha256[:12]
        raise InputError(f"{file}: weights {actual[:12]}, the record {path} has {stated}")
    return file


def _class_names(run: Record, data_root: Path) -> Sequence[str]:
    from mmengine.registry import DATASETS

    from core import configs
    from downstream.segmentation import mask_datasets

    config = mask_datasets.dataset_config(configs.config(run.dataset.name), data_root, "test", [])
    return DATASETS.build(config | {"lazy_init": True}).metainfo["classes"]


def colours(classes: int) -> NDArray[np.uint8]:
    """RGB [classes + 1, 3] of each class, darker from each 60th on, and black for what has none."""
    maps = [colormaps[name](np.arange(20))[:, :3] for name in ("tab20", "tab20b", "tab20c")]
    again, number = np.divmod(np.arange(classes), 60)
    palette = np.concatenate(maps)[number] * (0.7**again)[:, None]
    return np.concatenate([np.round(255 * palette), np.zeros((1, 3))]).astype(np.uint8)


def draw(
    pictures: Sequence[Segmented], names: Sequence[str], runs: Mapping[str, Record], protocol: str
) -> Plot:
    run = next(iter(runs.values()))
    backbones = list(pictures[0].guesses)
    palette = colours(len(names))
    axes = grid(len(pictures), ["picture", "what is there", *backbones])
    cells = iter(axes)
    for it in pictures:
        picture = opened(it.file)
        picture.thumbnail((PIXELS, PIXELS))
        next(cells).imshow(np.asarray(picture))
        for labels in (it.truth, *it.guesses.values()):
            map_ = Image.fromarray(palette[np.minimum(labels, len(names))])
            map_.thumbnail((PIXELS, PIXELS), Image.Resampling.NEAREST)
            next(cells).imshow(np.asarray(map_), interpolation="nearest")
    pixels = np.bincount(
        np.concatenate([it.truth[it.truth < len(names)] for it in pictures]), minlength=len(names)
    )
    most = [int(i) for i in np.argsort(-pixels, kind="stable")[:MOST_NAMED] if pixels[i]]
    patches = [Patch(color=tuple(palette[i] / 255), label=str(names[i])) for i in most]
    figure_of(axes[0]).legend(handles=patches, loc="outside right center")
    return plot(
        axes[0],
        f"What the segmenters make of the same pictures (protocol {protocol})",
        f"{len(pictures)} of the {_samples(run)} test pictures of {run.dataset.name}, evenly "
        f"spaced: {', '.join(it.name for it in pictures)}. What is there, then each backbone's "
        f"label map (task {run.task}, {seeds_of(runs)}), of a saved state that no record's hash "
        f"covers; black is not labelled. The legend has the classes of most pixels.",
    )


def _samples(run: Record) -> int:
    return max(it.samples for it in run.metrics.values())
