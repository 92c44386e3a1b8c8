"""One process per device, started by torchrun; a plain `python -m` is a group of one process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from core.record import Cost

T = TypeVar("T")


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def process_group() -> Iterator[torch.device]:
    """Joins torchrun's process group, if there is one, and yields this process's device.

    NCCL between GPUs, gloo between CPUs.
    """
    device = torch.device("cpu")
    if cuda := torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = False  # a run recorded as fp32 computes in fp32
    if "RANK" in os.environ:
        dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield device
        wait_for_all()  # a process that exits early breaks the connections of the others
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def sum_over_processes(values: Tensor) -> Tensor:
    """The elementwise sum of a tensor over all processes, in place."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def max_over_processes(values: Tensor) -> Tensor:
    """The elementwise maximum of a tensor over all processes, in place."""
    if dist.is_initialized():
        dist.all_reduce(values, dist.ReduceOp.MAX)
    return values


def from_all(value: T) -> list[T]:
    """Gathers a picklable value from every process, in the order of their ranks."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


def wait_for_all() -> None:
    if dist.is_initialized():
        dist.barrier()


def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Broadcasts tensors from the first process to all, in place."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def from_first(compute: Callable[[], T]) -> T:
    """Calls a function in the first process only and broadcasts its result to all."""
    if not dist.is_initialized():
        return compute()
    result = [compute() if rank() == 0 else None]
    dist.broadcast_object_list(result)
    return cast(T, result[0])


def device_name(device: torch.device) -> str:
    """The GPU's name, or "CPU (its model name)", for the record."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    for line in _cpu_info():
        if line.startswith("model name"):
            return f"CPU ({line.partition(':')[2].strip()})"
    return "CPU"


def _cpu_info() -> list[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return file.readlines()
    except OSError:
        return []


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory in MB (10^6 bytes): allocated on the GPU, or this process's RSS on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def cost(
    device: torch.device,
    wall_s: float,
    samples_per_s: float,
    precision: str = "fp32",
    devices: int | None = None,
) -> Cost:
    """The cost of a run, for its record.

    Args:
        devices: their number; needed if the process group has already been destroyed.
    """
    devices = devices or world()
    return Cost(
        wall_s=wall_s,
        samples_per_s=samples_per_s,
        peak_memory_mb=peak_memory_mb(device),
        device=device_name(device),
        devices=devices,
        precision=precision,
        device_hours=wall_s * devices / 3600,
    )


def env_rank() -> int:
    """`rank` before the process group is formed, from torchrun's environment variable."""
    return int(os.environ.get("RANK", "0"))


def env_world() -> int:
    """`world` before the process group is formed, from torchrun's environment variable."""
    return int(os.environ.get("WORLD_SIZE", "1"))
