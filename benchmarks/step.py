"""Throughput of a training step: ours against timm's, in one run, on the same tensors.

    python benchmarks/step.py                                    # about a minute on a CPU
    python benchmarks/step.py --batch-size 256 --resolution 224 --rounds 10   # on a GPU, in fp16
    python benchmarks/step.py --compile ...                      # both through torch.compile

A step is normalisation of uint8 pixels, mixup, forward, loss, backward and optimiser, without the
loader (benchmarks/loader.py measures it). timm's step is the loop of its train.py, built from what
the timm package exports: Mixup, SoftTargetCrossEntropy, NativeScaler and create_optimizer_v2.
Rounds are interleaved; figures are medians over rounds, and ratios are medians of the ratios in
each round.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import timm
import torch
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.utils import NativeScaler

from core.runtime import distributed
from core.runtime.step_monitor import StepMonitor
from pretrain import recipe
from pretrain.images import datasets
from pretrain.model import architectures
from pretrain.training import trainer

CLASSES = 1000
Step = Callable[[torch.Tensor, torch.Tensor], object]


def ours(args: argparse.Namespace, device: torch.device, colour: bool) -> Step:
    """`Trainer.train_step` under the recipe "mixup", with or without its colour augmentation."""
    chosen = replace(
        recipe.load("mixup", "paper", {"distill": None}),
        arch=args.arch,
        batch_size=args.batch_size,
        train_resolution=args.resolution,
        eval_resolution=args.resolution,
    )
    if not colour:
        chosen = replace(chosen, hsv_jitter=0.0, pca_noise=0.0)
    images = datasets.ImageSet(
        name="noise",
        mirrors="imagenet",
        split="train",
        classes=tuple(map(str, range(CLASSES))),
        labels=np.arange(args.batch_size) % CLASSES,
        root=Path("memory"),
        pixels=np.zeros((args.batch_size, 8, 8, 3), np.uint8),
    )
    out = Path(tempfile.mkdtemp())
    job = trainer.Job(chosen, images, images, out, 0, device, compiled=args.compile)
    moving = trainer.Trainer(job)
    moving.model.train()
    monitor = StepMonitor(device)

    def step(pixels: torch.Tensor, labels: torch.Tensor) -> None:
        loss = moving.train_step([(pixels, labels, [])])
        monitor.check(loss, False, moving.scaler)

    return step


def timms(args: argparse.Namespace, device: torch.device) -> Step:
    """timm's step: its mixup, loss, optimiser and scaler, channels last."""
    chosen = recipe.load("mixup", "paper", {})
    model = timm.create_model(args.arch, num_classes=CLASSES)
    model = model.to(device, memory_format=torch.channels_last).train()
    optimiser = create_optimizer_v2(
        model, opt="sgd", lr=0.1, momentum=0.9, weight_decay=chosen.weight_decay
    )
    forward = torch.compile(model) if args.compile else model
    fp16 = device.type == "cuda"
    scaler = NativeScaler(device=device.type) if fp16 else None
    mix = Mixup(chosen.mixup_alpha, label_smoothing=0.1, num_classes=CLASSES, mode="elem")
    criterion = SoftTargetCrossEntropy()
    shape = (1, 3, 1, 1)
    mean = torch.tensor([255 * m for m in chosen.mean], device=device).view(shape)
    std = torch.tensor([255 * s for s in chosen.std], device=device).view(shape)

    def step(pixels: torch.Tensor, labels: torch.Tensor) -> None:
        images = pixels.to(device, non_blocking=True).float().sub_(mean).div_(std)
        images, targets = mix(images, labels.to(device, non_blocking=True))
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.float16, enabled=fp16):
            loss = criterion(forward(images), targets)
        optimiser.zero_grad()
        if scaler is None:
            loss.backward()
            optimiser.step()
        else:
            scaler(loss, optimiser, parameters=model.parameters())

    return step


def images_per_second(step: Step, args: argparse.Namespace, device: torch.device) -> float:
    """The mean over `args.steps` steps on one batch of noise."""
    generator = torch.Generator().manual_seed(0)
    shape = (args.batch_size, 3, args.resolution, args.resolution)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(device)
    labels = torch.randint(0, CLASSES, (args.batch_size,), generator=generator).to(device)
    synchronise(device)
    began = time.perf_counter()
    for _ in range(args.steps):
        step(pixels, labels)
    synchronise(device)
    return args.steps * args.batch_size / (time.perf_counter() - began)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description="Our training step against timm's.")
    parser.add_argument("--arch", default="resnet50d")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--resolution", type=int, default=96)
    parser.add_argument("--steps", type=int, default=3, help="steps in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    architectures.create(args.arch, 0)  # raises at once if the name is unknown
    with distributed.process_group() as device:
        steps = {
            "timm": timms(args, device),
            "ours": ours(args, device, colour=False),
            "ours, with colour and lighting noise": ours(args, device, colour=True),
        }
        for step in steps.values():
            images_per_second(step, args, device)  # warm-up: kernels are selected or compiled
        rounds = [
            {name: images_per_second(step, args, device) for name, step in steps.items()}
            for _ in range(args.rounds)
        ]
        print(
            f"{args.arch} at {args.resolution} pixels, batch {args.batch_size}, "
            f"{'fp16' if device.type == 'cuda' else 'fp32'}{', compiled' if args.compile else ''}; "
            f"{args.rounds} rounds of {args.steps} steps\n"
            f"{distributed.device_name(device)}, {torch.get_num_threads()} threads; Python "
            f"{platform.python_version()}, torch {torch.__version__}, timm {timm.__version__}; "
            f"peak memory of all together {distributed.peak_memory_mb(device):.0f} MB"
        )
        for name in steps:
            speed = statistics.median(round_[name] for round_ in rounds)
            ratio = statistics.median(round_[name] / round_["timm"] for round_ in rounds)
            print(f"{name:<38} {speed:8.1f} images/s   {ratio:.2f} x timm's")


if __name__ == "__main__":
    main()
