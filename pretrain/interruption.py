"""Stopping when a cluster asks: the handler leaves a mark, and the training loop acts on it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # a cluster's pre-emption, and Slurm's --signal=USR1@60


class Request:
    """Whether this process has been asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

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
