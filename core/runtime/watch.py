"""Stopping early, and what every process must know of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.runtime import distributed


@dataclass(frozen=True)
class Verdict:
    """What all processes know at the end of a step: whether to go on."""

    finite: bool
    asked_to_stop: bool
    skipped: bool  # by the loss scaler, which lowers its scale when it does


class Watch:
    """Looks at each step's loss without waiting for the device.

    On a GPU a verdict is of the step before, whose numbers have arrived by then: the host stays a
    step ahead, and what went wrong is known one step later. On a CPU it is of the step itself.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.scale = 0.0
        self.arriving: tuple[Tensor, torch.cuda.Event] | None = None

    def look(
        self, loss: Tensor, asked_to_stop: bool, scaler: torch.amp.GradScaler | None = None
    ) -> Verdict:
        """The verdict that all processes share."""
        signs = torch.empty(3, device=self.device)
        signs[0] = ~torch.isfinite(loss)
        signs[1] = float(asked_to_stop)
        # get_scale() would wait for the device; the tensor behind it does not
        signs[2] = scaler._get_scale_async() if scaler and scaler.is_enabled() else 1.0  # type: ignore[assignment]
        distributed.largest_over_processes(signs)
        if self.device.type != "cuda":
            return self.verdict(signs)
        before, host = self.arriving, torch.empty(3, pin_memory=True)
        host.copy_(signs, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self.arriving = (host, event)
        if before is None:
            return Verdict(finite=True, asked_to_stop=False, skipped=False)
        before[1].synchronize()
        return self.verdict(before[0])

    def verdict(self, signs: Tensor) -> Verdict:
        infinite, asked, scale = signs.tolist()
        skipped, self.scale = scale < self.scale, scale
        return Verdict(finite=not infinite, asked_to_stop=bool(asked), skipped=skipped)
