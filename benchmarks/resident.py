"""Training throughput on small images: cached on the device, from our loader, from timm's.

    python benchmarks/resident.py                         # renders 64 x 64 JPEGs, no workers
    python benchmarks/resident.py --workers 8 --batch-size 512 --rounds 7        # with a GPU
    python benchmarks/resident.py --images DIR             # images of one size

All make uint8 batches on the device from the same files: random resized crop, flip, and with
--randaugment the A3 recipe's RandAugment. The loaders' time includes decoding; the cached images
are decoded once, which is timed separately. Rounds are interleaved; figures are medians over
rounds, and ratios are medians of the ratios in each round.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image, ImageFilter
from timm.data import create_dataset, create_loader

from core.runtime import distributed
from pretrain import recipe
from pretrain.images import datasets, device_cache, loader

SIDE = 64
Batches = Callable[[], Iterator[torch.Tensor]]


def render(folder: Path, count: int) -> None:
    """Writes blurred noise as JPEGs, in two classes."""
    rng = np.random.default_rng(0)
    for i in range(count):
        noise = Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
        path = folder / f"class{i % 2}" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise.filter(ImageFilter.GaussianBlur(1.5)).save(path, quality=90)


def ours(
    args: argparse.Namespace, chosen: recipe.Recipe, images: datasets.ImageSet, device: torch.device
) -> tuple[Batches, Batches, float]:
    """Batches of the cached images and of the loader, and the seconds of decoding."""
    began = time.perf_counter()
    cached = device_cache.load(images, device)
    assert cached is not None, "images of one size"
    seconds = time.perf_counter() - began

    def batches(view: torch.utils.data.Dataset) -> Iterator[loader.Batch]:
        keys = loader.EpochBatches(len(images), args.batch_size, seed=0, epoch=0)
        return loader.batches_of(loader.training(view, keys, args.workers))

    def from_device() -> Iterator[torch.Tensor]:
        for parameters, *_ in batches(device_cache.AugmentationParameters(cached, chosen, 0)):
            yield device_cache.augment(cached, parameters, chosen)

    def from_loader() -> Iterator[torch.Tensor]:
        for pixels, *_ in batches(loader.TrainingView(images, chosen, 0)):
            yield pixels.to(device, non_blocking=True)

    return from_device, from_loader, seconds


def timms(
    args: argparse.Namespace, chosen: recipe.Recipe, folder: Path, device: torch.device
) -> Batches:
    """Batches of timm's loader, called as in its train.py, without colour jitter."""
    source = create_loader(
        create_dataset("", root=str(folder)),
        input_size=(3, chosen.train_resolution, chosen.train_resolution),
        batch_size=args.batch_size,
        is_training=True,
        color_jitter=None,
        auto_augment=chosen.randaugment,
        interpolation=chosen.interpolation,
        num_workers=args.workers,
        use_prefetcher=False,
        device=device,
        persistent_workers=False,
    )

    def batches() -> Iterator[torch.Tensor]:
        for pixels, _ in source:
            yield pixels.to(device, non_blocking=True)

    return batches


@contextmanager
def image_folder(args: argparse.Namespace) -> Iterator[Path]:
    if args.images is not None:
        yield args.images
        return
    with tempfile.TemporaryDirectory() as folder:
        render(Path(folder), args.count)
        yield Path(folder)


def speed(batches: Batches, device: torch.device) -> float:
    """Images per second of one epoch, including the start of the workers."""
    began, count = time.perf_counter(), 0
    for pixels in batches():
        count += len(pixels)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return count / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="a folder with one folder of images per class")
    parser.add_argument("--count", type=int, default=2048, help="images to render")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--randaugment", action="store_true")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = replace(
        recipe.load("a3", "paper", {}), train_resolution=SIDE, interpolation="bilinear"
    )
    if not args.randaugment:
        chosen = replace(chosen, randaugment=None)
    with image_folder(args) as folder:
        images = datasets.load_folder(folder)
        from_device, from_loader, seconds = ours(args, chosen, images, device)
        named = {
            "resident": from_device,
            "our loader": from_loader,
            f"timm {timm.__version__}": timms(args, chosen, folder, device),
        }
        for batches in named.values():  # the first epoch is not measured
            speed(batches, device)
        rounds = [
            {name: speed(it, device) for name, it in named.items()} for _ in range(args.rounds)
        ]
    print(
        f"{len(images)} images to {SIDE} x {SIDE}, batches of {args.batch_size}, {args.workers} "
        f"workers, RandAugment {chosen.randaugment or 'off'}, {args.rounds} rounds\n"
        f"{distributed.device_name(device)}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}, Python {platform.python_version()}\n"
        f"decoded once in {seconds:.2f} s"
    )
    for name in named:
        found = [one[name] for one in rounds]
        ratios = [one["resident"] / one[name] for one in rounds]
        print(
            f"{name:>12} {statistics.median(found):9.0f} images/s; resident is "
            f"{statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
