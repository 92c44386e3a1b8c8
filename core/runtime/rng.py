"""Random numbers as a pure function of (stream, seed, key).

The key says what a draw is for: an epoch and a sample, or a step, a micro-batch and a process. So
no generator state has to be saved, the number of workers changes nothing, and a resumed run draws
the same numbers as an uninterrupted one.
"""

from __future__ import annotations

from typing import Final

import numpy as np

# The stream's number comes first, because NumPy ignores zeros at the end: (5, 2) is (5, 2, 0).
STREAMS: Final = {"order": 1, "sample": 2, "batch": 3, "layers": 4, "subset": 5, "split": 6}


def generator(stream: str, seed: int, *key: int) -> np.random.Generator:
    """A fresh generator for one key of a stream."""
    return np.random.default_rng((STREAMS[stream], seed, *key))


def torch_seed(stream: str, seed: int, *key: int) -> int:
    """A seed for torch's generator, from which layers draw (dropout, stochastic depth)."""
    state = np.random.SeedSequence((STREAMS[stream], seed, *key)).generate_state(1, np.uint64)
    return int(state[0] >> 1)
