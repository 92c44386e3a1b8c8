"""Random streams: NumPy's seeding, different for every key, and the same values for ever."""

from itertools import product

import numpy as np
import pytest
import torch

from core.runtime import rng

# The length of a stream's keys: (epoch), (epoch, sample, copy) or (step, micro-batch, process).
KEY_LENGTHS = {"order": 1, "sample": 3, "batch": 3, "layers": 3, "subset": 0, "split": 0}


def arguments() -> list[tuple]:
    """All keys of small numbers, zeros included, in every stream."""
    return [
        (stream, seed, *key)
        for stream, n in KEY_LENGTHS.items()
        for seed in range(4)
        for key in product(range(4), repeat=n)
    ]


def test_every_stream_has_its_own_number() -> None:
    assert set(rng.STREAMS) == set(KEY_LENGTHS)
    assert len(set(rng.STREAMS.values())) == len(KEY_LENGTHS)
    assert min(rng.STREAMS.values()) > 0, "NumPy ignores zeros at the end of a seed"


def test_no_two_keys_give_the_same_numbers() -> None:
    """Without the stream's number, (s, e) of one stream would equal (s, e, 0, 0) of another."""
    values = {rng.generator(*key).integers(2**63) for key in arguments()}
    seeds = {rng.torch_seed(*key) for key in arguments()}

    assert len(values) == len(seeds) == len(arguments()) == 4 * (4 + 3 * 64 + 2)


def test_the_streams_number_separates_keys_of_different_length() -> None:
    plain = [np.random.default_rng(key).integers(2**63) for key in ((5, 2), (5, 2, 0, 0))]
    assert plain[0] == plain[1], "NumPy does not separate them"

    found = {
        rng.generator("order", 5, 2).integers(2**63),
        rng.generator("sample", 5, 2, 0, 0).integers(2**63),
        rng.generator("batch", 5, 2, 0, 0).integers(2**63),
        rng.generator("split", 5).integers(2**63),
        rng.generator("subset", 5).integers(2**63),
    }
    assert len(found) == 5


@pytest.mark.parametrize("arguments", [("order", 3, 7), ("sample", 0, 1, 123_456, 2), ("split", 9)])
def test_is_numpys_generator_seeded_by_stream_seed_and_key(arguments: tuple) -> None:
    stream, *rest = arguments
    number = {"order": 1, "sample": 2, "batch": 3, "layers": 4, "subset": 5, "split": 6}[stream]

    found = rng.generator(*arguments).random(5)

    sequence = np.random.SeedSequence([number, *rest])
    np.testing.assert_array_equal(found, np.random.Generator(np.random.PCG64(sequence)).random(5))


def test_each_call_returns_a_fresh_generator() -> None:
    first = rng.generator("sample", 1, 2, 3, 0)
    first.random(1000)

    again = rng.generator("sample", 1, 2, 3, 0)

    assert again.random() == rng.generator("sample", 1, 2, 3, 0).random() != first.random()


def test_values_never_change() -> None:
    """A change of NumPy's seeding or of a stream's number would change every result."""
    assert rng.generator("order", 0, 0).permutation(8).tolist() == [5, 0, 1, 4, 2, 6, 3, 7]
    assert rng.generator("sample", 1, 2, 3, 0).integers(1000, size=4).tolist() == [
        277,
        982,
        450,
        886,
    ]
    assert rng.torch_seed("layers", 0, 5, 0, 1) == 1_662_931_217_617_885_702


def test_torch_accepts_its_seeds() -> None:
    for step in range(50):
        seed = rng.torch_seed("layers", 3, step, 0, 0)
        assert 0 <= seed < 2**63
        torch.Generator().manual_seed(seed)


def test_numbers_of_neighbouring_keys_are_uniform_and_uncorrelated() -> None:
    n = 4000
    first = np.array([rng.generator("sample", 0, 0, i, 0).random() for i in range(n)])

    assert abs(first.mean() - 0.5) < 5 / np.sqrt(12 * n)
    assert abs(first.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / n)
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 5 / np.sqrt(n)
