"""Random numbers that depend on nothing but where they are drawn.

Every stream is named, and each draw is addressed by the seed and a place in the training: an epoch
and a sample, or a step, a micro-batch and a process. So there is no generator whose state would
have to be saved, the number of workers changes nothing, and a resumed run draws what it would have
drawn.
"""

from __future__ import annotations

from typing import Final

import numpy as np

# Their numbers come first in a seed, because NumPy reads (5, 2) and (5, 2, 0) as the same one.
STREAMS: Final = {"order": 1, "sample": 2, "batch": 3, "layers": 4, "subset": 5, "split": 6}


def generator(stream: str, seed: int, *place: int) -> np.random.Generator:
    """The generator of one place in one stream."""
    return np.random.default_rng((STREAMS[stream], seed, *place))


def torch_seed(stream: str, seed: int, *place: int) -> int:
    """A seed for torch's own generator, for what its layers draw (dropout, stochastic depth)."""
    state = np.random.SeedSequence((STREAMS[stream], seed, *place)).generate_state(1, np.uint64)
    return int(state[0] >> 1)
