"""Stopping when a cluster asks: the handler leaves a mark, and the training loop acts on it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from core.errors import Interrupted
from core.runtime import distributed

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # a cluster's pre-emption, and Slurm's --signal=USR1@60


class Request:
    """Whether this process has been asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def obey(self, run: str, place: str) -> NoReturn:
        """Ends a run whose state is saved, in all of its processes.

        Args:
            run, place: "pretrain/best", "step 3 of 10".

        Raises:
            Interrupted: always.
        """
        # launchers kill the others once the first has left, and the one that writes may be at it
        distributed.wait_for_all()
        name = self.signal.name if self.signal else "a signal to another process"
        raise Interrupted(
            f"{run}: stopped by {name} after {place}, which is saved: the same command goes on "
            f"from there"
        )

    def note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)


@contextmanager
def listening() -> Iterator[Request]:
    """Until the end of the block SIGTERM and SIGUSR1 only leave their mark in the request."""
    request = Request()
    before = {number: signal.signal(number, request.note) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
