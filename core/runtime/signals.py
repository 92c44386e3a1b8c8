"""SIGTERM and SIGUSR1: the handler records the signal, and the training loop then stops safely."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from core.errors import Interrupted
from core.runtime import distributed

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # a cluster's preemption, and Slurm's --signal=USR1@60


class StopRequest:
    """True once this process has received a stop signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def end_run(self, run: str, progress: str) -> NoReturn:
        """Ends a run in all of its processes. The caller has saved the state.

        Args:
            run, progress: "pretrain/best", "step 3 of 10".

        Raises:
            Interrupted: always.
        """
        # a launcher kills the other processes once one has exited: the first may still be writing
        distributed.wait_for_all()
        name = self.signal.name if self.signal else "a signal to another process"
        raise Interrupted(
            f"{run}: stopped by {name} after {progress}; the state is saved: run the same command "
            f"again to resume"
        )

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        self.signal = signal.Signals(number)


@contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Within the block, SIGTERM and SIGUSR1 only set the request."""
    request = StopRequest()
    before = {number: signal.signal(number, request.handle) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
