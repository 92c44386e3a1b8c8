"""Throughput of training data: trickbench's loader against timm's, torchvision's and DALI's.

    python benchmarks/loader.py [--images DIR] [--count 400] [--workers 2] [--rounds 5]

All read the same JPEG files from the page cache, with the same distribution of crops (8 to 100 % of
the area, aspect 3/4 to 4/3, flipped half the time) and the same number of workers. Three tables:

1. one crop, as a function, in one thread, and its difference from Pillow's pixels;
2. the host's part if the device does the colours: files to uint8 batches;
3. the complete training transform of Bag of Tricks on CPUs: files to normalised float batches.

Each loader runs in its own process, in turns. The columns are medians over the rounds:

- images/s: from the first request to the last batch, including the start of the workers;
- images/s per core: per second of CPU time of the process and its workers, from getrusage after
  they have ended. Other load on the machine affects it less. About 0.3 s are the start of the
  processes, the same for all;
- MiB: peak resident memory of the process plus that of its largest worker times their number;
  shared pages count in each process.

Without --images, images are rendered: noise of several octaves, sensor noise and edges, with pixel
and file sizes like ImageNet's.
"""

from __future__ import annotations

import argparse
import gc
import io
import multiprocessing
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import cv2
import numpy as np
import timm.data
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from core.runtime.rng import generator
from pretrain import recipe
from pretrain.images import datasets, decode, loader
from pretrain.images import transforms as image_transforms

SIZES = {  # (width, height): percentage, similar to ImageNet's training set
    (500, 375): 52,
    (500, 333): 10,
    (375, 500): 12,
    (333, 500): 4,
    (400, 300): 5,
    (320, 240): 4,
    (200, 150): 2,
    (640, 480): 4,
    (800, 600): 2,
    (1024, 768): 2,
    (1280, 960): 1,
    (1600, 1200): 1,
    (2048, 1536): 1,
}
HUE = 0.2  # torchvision adds to hue in [0, 1): the same shift as scaling 0.5 by 1.4
PACKAGES = ("torch", "torchvision", "timm", "pillow", "simplejpeg", "opencv-python-headless")


class Job(NamedTuple):
    """The input of every loader."""

    files: tuple[str, ...]
    workers: int
    batch_size: int
    resolution: int
    recipe: recipe.Recipe


def photograph(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Noise of several octaves, planes with edges, sensor noise: uint8 [height, width, 3]."""
    image = np.full((height, width, 3), 128 + rng.uniform(-30, 30), np.float32)
    cells, amplitude = 2, 60.0
    while cells < max(width, height):
        shape = (max(2, cells * height // max(width, height)) + 1, cells + 1, 3)
        noise = rng.standard_normal(shape, np.float32)
        noise = 0.45 * noise + noise.mean(axis=2, keepdims=True)  # mostly grey
        image += amplitude * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        cells, amplitude = 2 * cells, 0.72 * amplitude
    for _ in range(int(rng.integers(4, 12))):
        corners = rng.uniform(-0.1, 1.1, (5, 2)) * (width, height)
        mask = np.zeros((height, width), np.uint8)
        cv2.fillConvexPoly(mask, cv2.convexHull(corners.astype(np.int32)), 255, cv2.LINE_AA)
        cover = (mask / np.float32(255) * np.float32(rng.uniform(0.3, 0.9)))[:, :, None]
        colour = rng.uniform(0, 255, 3).astype(np.float32)
        image += cover * (colour + 0.4 * (image - 128) - image)
    image += rng.standard_normal((height, width, 1), np.float32) * np.float32(rng.uniform(5, 11))
    return np.clip(image, 0, 255).astype(np.uint8)


def render(folder: Path, index: int) -> None:
    """Renders one JPEG: 4:2:0, quality 92 to 96."""
    rng = np.random.default_rng(index)
    sizes = [size for size, count in SIZES.items() for _ in range(count)]
    pixels = photograph(rng, *sizes[index * 37 % len(sizes)])  # 37: the first ones are mixed too
    quality = int(rng.choice([92, 95, 96]))
    Image.fromarray(pixels).save(folder / f"{index:05d}.jpg", quality=quality, subsampling=2)


def image_set(files: tuple[str, ...]) -> datasets.ImageSet:
    labels = np.zeros(len(files), np.int64)
    return datasets.ImageSet("files", "imagenet", "train", ("all",), labels, Path("/"), files)


class Files(Dataset):
    """A torchvision dataset of files, decoded by Pillow or, to tensors, by torchvision itself."""

    def __init__(self, files: tuple[str, ...], transform: Callable, tensors: bool) -> None:
        self.files, self.transform, self.tensors = files, transform, tensors

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.tensors:
            return self.transform(decode_image(self.files[index], ImageReadMode.RGB)), 0
        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("RGB")), 0


class Reader:
    """A reader for timm's dataset."""

    def __init__(self, files: tuple[str, ...]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[io.BufferedReader, int]:
        return open(self.files[index], "rb"), 0  # timm's dataset reads it and drops it


class Lighting:
    """AlexNet's PCA noise on one float [3, H, W], as an additional torchvision transform."""

    def __init__(self, noise: float) -> None:
        self.noise = noise

    def __call__(self, image: Tensor) -> Tensor:
        alpha = torch.normal(0, self.noise, (3,))
        return image + (
            image_transforms.EIGENVECTORS @ (alpha * image_transforms.EIGENVALUES)
        ).view(3, 1, 1)


def ours(job: Job, colours: bool) -> Iterator[Tensor]:
    view = loader.TrainingView(image_set(job.files), job.recipe, seed=0)
    batches = loader.EpochBatches(len(job.files), job.batch_size, seed=0, epoch=0)
    for step, (images, *_) in enumerate(loader.training(view, batches, job.workers)):
        if not colours:
            yield images
            continue
        rng = generator("batch", 0, 0, step)
        rgb = image_transforms.colour(images, rng, job.recipe.hsv_jitter, job.recipe.pca_noise)
        yield image_transforms.normalise(rgb, job.recipe.mean, job.recipe.std)


def timms(job: Job, colours: bool, jitter: Any = None) -> Iterator[Tensor]:
    made = timm.data.create_loader(
        timm.data.ImageDataset("", reader=Reader(job.files)),
        input_size=job.resolution,
        batch_size=job.batch_size,
        is_training=True,
        color_jitter=jitter,
        interpolation="bilinear",
        num_workers=job.workers,
        persistent_workers=False,
        use_prefetcher=not colours,
        device=torch.device("cpu"),
    )
    # the prefetcher normalises on the device; its inner loader is the host's part, in uint8
    for images, *_ in made if colours else made.loader:
        yield images


def torchvisions(job: Job, colours: bool, tensors: bool) -> Iterator[Tensor]:
    now: Any = v2 if tensors else transforms
    steps = [
        now.RandomResizedCrop(job.resolution, antialias=True),
        now.RandomHorizontalFlip(),
    ]
    if colours:
        jitter, spread = job.recipe.hsv_jitter, job.recipe.pca_noise
        steps.append(now.ColorJitter(brightness=jitter, saturation=jitter, hue=HUE))
        steps.append(v2.ToDtype(torch.float32, scale=True) if tensors else now.ToTensor())
        steps += [Lighting(spread), now.Normalize(job.recipe.mean, job.recipe.std)]
    elif not tensors:
        steps.append(now.PILToTensor())
    files = Files(job.files, now.Compose(steps), tensors)
    options: dict[str, Any] = dict(shuffle=True, drop_last=True, num_workers=job.workers)
    for images, _ in DataLoader(files, job.batch_size, **options):
        yield images


def dalis(job: Job, colours: bool) -> Iterator[Tensor]:
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=job.batch_size, num_threads=job.workers, device_id=None)
    def pipeline():
        encoded, _ = fn.readers.file(files=list(job.files), random_shuffle=True)
        images = fn.decoders.image_random_crop(
            encoded, random_area=[0.08, 1.0], random_aspect_ratio=[3 / 4, 4 / 3]
        )
        images = fn.resize(images, size=[job.resolution] * 2, antialias=True)
        flip = fn.random.coin_flip()
        if not colours:
            return fn.transpose(fn.flip(images, horizontal=flip), perm=[2, 0, 1])
        scale = [1 - job.recipe.hsv_jitter, 1 + job.recipe.hsv_jitter]
        images = fn.hsv(
            images,
            hue=fn.random.uniform(range=[-360 * HUE, 360 * HUE]),
            saturation=fn.random.uniform(range=scale),
            value=fn.random.uniform(range=scale),
            dtype=types.FLOAT,
        )
        alpha = fn.random.normal(stddev=job.recipe.pca_noise, shape=(3, 1))
        basis = (image_transforms.EIGENVECTORS * image_transforms.EIGENVALUES).numpy() * 255
        shift = fn.reshape(types.Constant(basis) * fn.transpose(alpha, perm=[1, 0]), shape=[3, 3])
        images = images + fn.reshape(fn.reductions.sum(shift, axes=1), shape=[1, 1, 3])
        mean, std = ([255 * x for x in m] for m in (job.recipe.mean, job.recipe.std))
        return fn.crop_mirror_normalize(images, mirror=flip, mean=mean, std=std)

    made = pipeline()
    made.build()
    for _ in range(len(job.files) // job.batch_size):
        (images,) = made.run()
        yield torch.from_numpy(np.array(images.as_tensor()))


Contender = Callable[[Job], Iterator[Tensor]]
HOST: dict[str, Contender] = {
    "trickbench": partial(ours, colours=False),
    "timm": partial(timms, colours=False),
    "torchvision v1, Pillow": partial(torchvisions, colours=False, tensors=False),
    "torchvision v2, tensors": partial(torchvisions, colours=False, tensors=True),
    "DALI, CPU": partial(dalis, colours=False),
}
WHOLE: dict[str, Contender] = {
    "trickbench": partial(ours, colours=True),
    "timm, its jitter 0.4: no hue, no noise": partial(timms, colours=True, jitter=0.4),
    "timm, with hue, no noise": partial(timms, colours=True, jitter=(0.4, 0.0, 0.4, HUE)),
    "torchvision v1, Pillow": partial(torchvisions, colours=True, tensors=False),
    "torchvision v2, tensors": partial(torchvisions, colours=True, tensors=True),
    "DALI, CPU": partial(dalis, colours=True),
}


class Measured(NamedTuple):
    """The result of one loader in one round."""

    rate: float  # images/s
    cpu: float  # seconds per image
    memory: float  # MiB


def cpu_seconds() -> float:
    usages = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(contender: Contender, job: Job, answer: Connection) -> None:
    before, start = cpu_seconds(), time.perf_counter()
    seen, dtype = 0, torch.uint8
    for images in contender(job):
        assert images.shape[1:] == (3, job.resolution, job.resolution), images.shape
        seen, dtype = seen + len(images), images.dtype
    took = time.perf_counter() - start
    gc.collect()  # a loader joins its workers when it is collected
    peaks = [resource.getrusage(w).ru_maxrss for w in (-1, 0)]  # largest child; this process
    memory = (peaks[1] + job.workers * peaks[0]) / 1024
    used = cpu_seconds() - before
    answer.send((Measured(seen / took, used / seen, memory), seen, str(dtype)))


def one_round(contender: Contender, job: Job) -> tuple[Measured, int, str]:
    """Runs a loader in a fresh process, whose children are its workers."""
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    process = fork.Process(target=measure, args=(contender, job, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError as error:
        raise SystemExit("a loader failed: see above") from error
    finally:
        process.join()


def compare(title: str, contenders: dict[str, Contender], job: Job, rounds: int) -> None:
    found: dict[str, list[Measured]] = {name: [] for name in contenders}
    shown = {}
    for turn in range(rounds):
        for name in sorted(contenders, reverse=bool(turn % 2)):
            if name.startswith("DALI") and installed("nvidia-dali-cuda120") is None:
                continue
            one, seen, dtype = one_round(contenders[name], job)
            found[name].append(one)
            shown[name] = f"{seen} images, {dtype}"
    print(f"\n{title}\n{shown['trickbench']} a round; medians of {rounds} rounds")
    print(f"{'':40}images/s  per core  CPU ms/image    MiB  ours/it per core (range)")
    mine = found["trickbench"]
    for name, rows in found.items():
        if not rows:
            print(f"{name:40}not installed")
            continue
        rate, cpu, memory = (median(column) for column in zip(*rows, strict=True))
        ratios = [its.cpu / our.cpu for our, its in zip(mine, rows, strict=True)]
        spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
        print(
            f"{name:40}{rate:8.0f}{1 / cpu:10.0f}{1e3 * cpu:14.3f}{memory:7.0f}"
            f"{median(ratios):8.2f} ({spread})"
        )


def pillow_crop(encoded: bytes, box: decode.Box, side: int, *, draft: bool) -> np.ndarray:
    image = Image.open(io.BytesIO(encoded))
    width, height = image.size
    if draft:
        shrink = max(1, min(box[2] - box[0], box[3] - box[1]) // side)
        image.draft("RGB", (width // shrink, height // shrink))
    x, y = image.width / width, image.height / height
    inside = (box[0] * x, box[1] * y, box[2] * x, box[3] * y)
    return np.asarray(
        image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR, box=inside)
    )


def opencv_crop(encoded: bytes, box: decode.Box, side: int, *, method: int) -> np.ndarray:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    assert image is not None
    crop = image[box[1] : box[3], box[0] : box[2]]
    return cv2.resize(crop, (side, side), interpolation=method)


def torchvision_crop(encoded: bytes, box: decode.Box, side: int) -> np.ndarray:
    image = decode_image(torch.frombuffer(bytearray(encoded), dtype=torch.uint8))
    crop = v2.functional.resized_crop(
        image, box[1], box[0], box[3] - box[1], box[2] - box[0], [side, side], antialias=True
    )
    return crop.permute(1, 2, 0).numpy()


def functions(files: tuple[str, ...], side: int, rounds: int) -> None:
    """Prints the first table."""
    contenders: dict[str, Callable[[bytes, decode.Box, int], np.ndarray]] = {
        "trickbench": partial(decode.resized_crop, interpolation="bilinear"),
        "Pillow": partial(pillow_crop, draft=False),
        "Pillow, draft": partial(pillow_crop, draft=True),
        "OpenCV, area": partial(opencv_crop, method=cv2.INTER_AREA),
        "OpenCV, linear: not antialiased": partial(opencv_crop, method=cv2.INTER_LINEAR),
        "torchvision, tensors": torchvision_crop,
    }
    rng, inputs = np.random.default_rng(0), []
    for file in files:
        encoded = Path(file).read_bytes()
        inputs.append((encoded, image_transforms.random_crop_box(rng, *decode.size(encoded)), side))
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, function in contenders.items():
            start = time.process_time()
            for one in inputs:
                function(*one)
            seconds[name].append((time.process_time() - start) / len(inputs))
    print(f"\nOne crop to {side} pixels, one thread\n{len(inputs)} images, {rounds} rounds")
    print(f"{'':40}images/s  ms/image  ours/it  from Pillow: mean, largest mean")
    references = [pillow_crop(*one, draft=False).astype(np.int16) for one in inputs]
    for name, function in contenders.items():
        pairs = zip(inputs, references, strict=True)
        away = [float(np.abs(function(*one) - reference).mean()) for one, reference in pairs]
        own, it = median(seconds["trickbench"]), median(seconds[name])
        print(
            f"{name:40}{1 / it:8.0f}{1e3 * it:10.3f}{it / own:9.2f}"
            f"{np.mean(away):15.3f}{max(away):15.3f}"
        )


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path, help="a folder of JPEGs, subfolders included")
    parser.add_argument("--count", type=int, default=400, help="files to read or render")
    parser.add_argument("--passes", type=int, default=6, help="passes over the files in a round")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--recipe", default="b-efficient", help="for its colours, mean and std")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)

    with tempfile.TemporaryDirectory() as rendered:
        if args.images is None:
            with ProcessPoolExecutor(args.workers or 1) as pool:
                list(pool.map(partial(render, Path(rendered)), range(args.count)))
        found = sorted((args.images or Path(rendered)).rglob("*"))
        files = [str(f.resolve()) for f in found if f.suffix.lower() in (".jpg", ".jpeg")]
        # evenly from all folders of a large dataset
        files = files[:: max(1, len(files) // args.count)][: args.count]
        sizes = np.array([Path(file).stat().st_size for file in files])
        pixels = [decode.size(Path(file).read_bytes()) for file in files]
        area = np.array([width * height for width, height in pixels])
        shown = (f"{name} {installed(name)}" for name in (*PACKAGES, "nvidia-dali-cuda120"))
        print(f"{processor()}; Python {platform.python_version()}, {', '.join(shown)}")
        print(
            f"{len(files)} JPEGs, {'given' if args.images else 'rendered'}: on average "
            f"{sizes.mean() / 1e3:.0f} kB (median {np.median(sizes) / 1e3:.0f}) and "
            f"{area.mean() / 1e6:.2f} megapixels (median {np.median(area) / 1e6:.2f}); "
            f"{args.workers} workers, batches of {args.batch}"
        )
        functions(tuple(files), args.resolution, args.rounds)
        chosen = recipe.load(args.recipe, "paper", dict(train_resolution=args.resolution))
        all_files = tuple(files) * args.passes
        job = Job(all_files, args.workers, args.batch, args.resolution, chosen)
        compare("The host's part: uint8 batches, without colours", HOST, job, args.rounds)
        compare("The complete training transform on CPUs: float batches", WHOLE, job, args.rounds)


if __name__ == "__main__":
    main()
