"""Saves the label maps of a few test images, so that a figure needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from core.metrics import label_maps
from core.metrics.label_maps import LABEL_MAPS, LabelMaps
from core.runtime import distributed
from core.selection import SHOWN, evenly


class LabelMapHook(Hook):
    """Writes label_maps.npz at the end of a test: a few images, evenly spaced in the dataset."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wanted: list[str] = []  # paths of images
        self.maps: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # those of this process

    def before_test_epoch(self, runner: Runner) -> None:
        dataset = runner.test_dataloader.dataset
        indices = evenly(range(len(dataset)), SHOWN)
        self.wanted = [dataset.get_data_info(index)["img_path"] for index in indices]

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence | None = None,
    ) -> None:
        for sample in outputs or ():
            if sample.img_path in self.wanted:
                truth, guess = (
                    part.data.squeeze(0).cpu().numpy()
                    for part in (sample.gt_sem_seg, sample.pred_sem_seg)
                )
                self.maps[sample.img_path] = truth, guess

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        maps = {path: it for share in distributed.from_all(self.maps) for path, it in share.items()}
        if distributed.rank() != 0:
            return
        dataset = runner.test_dataloader.dataset
        truth, guess = zip(*(maps[path] for path in self.wanted), strict=True)
        kept = LabelMaps(
            classes=tuple(dataset.metainfo["classes"]),
            images=tuple(Path(path).stem for path in self.wanted),
            files=tuple(str(Path(path).relative_to(dataset.data_root)) for path in self.wanted),
            truth=truth,
            guess=guess,
        )
        label_maps.save(self.folder / LABEL_MAPS, kept)
