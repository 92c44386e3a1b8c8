"""Random generators as a function of a key, independent of order and process."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, *key: str | int) -> np.random.Generator:
    """The generator for one key, for example `generator(seed, "voc2007", "test", 17)`.

    `seed` and integers in `key` must not be negative. Equal arguments give equal streams in any
    process; others give independent streams (`SeedSequence` hashes its spawn key).
    """
    words = tuple(zlib.crc32(part.encode()) if isinstance(part, str) else part for part in key)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=words)))
