"""Early stopping: the status of each step, shared by all processes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.runtime import distributed


@dataclass(frozen=True)
class StepStatus:
    """The status of a step over all processes."""

    finite: bool
    stop_requested: bool
    skipped: bool  # by the loss scaler, which lowers its scale when it skips a step


class StepMonitor:
    """Checks each step's loss without waiting for the device.

    On a GPU the status returned is that of the previous step, whose numbers have been copied by
    then. On a CPU it is that of the step itself.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.scale = 0.0
        self.pending: tuple[Tensor, torch.cuda.Event] | None = None

    def check(
        self, loss: Tensor, stop_requested: bool, scaler: torch.amp.GradScaler | None = None
    ) -> StepStatus:
        """The same status in all processes."""
        flags = torch.empty(3, device=self.device)
        flags[0] = ~torch.isfinite(loss)
        flags[1] = float(stop_requested)
        # get_scale() would wait for the device; the tensor behind it does not
        flags[2] = scaler._get_scale_async() if scaler and scaler.is_enabled() else 1.0  # type: ignore[assignment]
        distributed.max_over_processes(flags)
        if self.device.type != "cuda":
            return self.status(flags)
        previous, host = self.pending, torch.empty(3, pin_memory=True)
        host.copy_(flags, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self.pending = (host, event)
        if previous is None:
            return StepStatus(finite=True, stop_requested=False, skipped=False)
        previous[1].synchronize()
        return self.status(previous[0])

    def status(self, flags: Tensor) -> StepStatus:
        not_finite, stop_requested, scale = flags.tolist()
        skipped, self.scale = scale < self.scale, scale
        return StepStatus(not not_finite, bool(stop_requested), skipped)
