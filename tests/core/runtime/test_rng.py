"""Random streams: NumPy's own seeding, no two places alike, values that stay as they are."""

from itertools import product

import numpy as np
import pytest
import torch

from core.runtime import rng

# How many coordinates a place has after the seed: an epoch; an epoch, a sample and its copy; a
# step, a micro-batch and a process.
COORDINATES = {"order": 1, "sample": 3, "batch": 3, "layers": 3, "subset": 0, "split": 0}


def places() -> list[tuple]:
    """Every place of a few small numbers, zeros among them, in every stream."""
    return [
        (stream, seed, *place)
        for stream, n in COORDINATES.items()
        for seed in range(4)
        for place in product(range(4), repeat=n)
    ]


def test_these_are_all() -> None:
    assert set(rng.STREAMS) == set(COORDINATES)
    assert len(set(rng.STREAMS.values())) == len(COORDINATES)
    assert min(rng.STREAMS.values()) > 0, "NumPy drops zeros at the end of a seed"


def test_no_two_places_of_any_streams_are_alike() -> None:
    """(s, e) of one stream and (s, e, 0, 0) of another would be, without the stream in front."""
    values = {rng.generator(*place).integers(2**63) for place in places()}
    seeds = {rng.torch_seed(*place) for place in places()}

    assert len(values) == len(seeds) == len(places()) == 4 * (4 + 3 * 64 + 2)


def test_one_stream_in_front_keeps_places_of_different_length_apart() -> None:
    bare = [np.random.default_rng(place).integers(2**63) for place in ((5, 2), (5, 2, 0, 0))]
    assert bare[0] == bare[1], "why the streams have numbers"

    found = {
        rng.generator("order", 5, 2).integers(2**63),
        rng.generator("sample", 5, 2, 0, 0).integers(2**63),
        rng.generator("batch", 5, 2, 0, 0).integers(2**63),
        rng.generator("split", 5).integers(2**63),
        rng.generator("subset", 5).integers(2**63),
    }
    assert len(found) == 5


@pytest.mark.parametrize("place", [("order", 3, 7), ("sample", 0, 1, 123_456, 2), ("split", 9)])
def test_is_numpys_generator_of_the_streams_number_the_seed_and_the_place(place: tuple) -> None:
    stream, *rest = place
    number = {"order": 1, "sample": 2, "batch": 3, "layers": 4, "subset": 5, "split": 6}[stream]

    found = rng.generator(*place).random(5)

    sequence = np.random.SeedSequence([number, *rest])
    np.testing.assert_array_equal(found, np.random.Generator(np.random.PCG64(sequence)).random(5))


def test_a_generator_starts_anew_each_time() -> None:
    first = rng.generator("sample", 1, 2, 3, 0)
    first.random(1000)

    again = rng.generator("sample", 1, 2, 3, 0)

    assert again.random() == rng.generator("sample", 1, 2, 3, 0).random() != first.random()


def test_values_written_down_once_are_met_again() -> None:
    """They would change with NumPy's seeding or a stream's number, and with them every result."""
    assert rng.generator("order", 0, 0).permutation(8).tolist() == [5, 0, 1, 4, 2, 6, 3, 7]
    assert rng.generator("sample", 1, 2, 3, 0).integers(1000, size=4).tolist() == [
        277,
        982,
        450,
        886,
    ]
    assert rng.torch_seed("layers", 0, 5, 0, 1) == 1_662_931_217_617_885_702


def test_torchs_seeds_are_seeds_to_torch() -> None:
    for step in range(50):
        seed = rng.torch_seed("layers", 3, step, 0, 0)
        assert 0 <= seed < 2**63
        torch.Generator().manual_seed(seed)


def test_draws_of_neighbouring_places_are_uniform_and_uncorrelated() -> None:
    n = 4000
    first = np.array([rng.generator("sample", 0, 0, i, 0).random() for i in range(n)])

    assert abs(first.mean() - 0.5) < 5 / np.sqrt(12 * n)
    assert abs(first.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / n)
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 5 / np.sqrt(n)
