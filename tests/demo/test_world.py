"""Shapes, textures and images: geometry, ranges and seeds."""

from __future__ import annotations

import numpy as np
import pytest

from demo.imagenet import object_image
from demo.painting import contrasting_pair
from demo.seeding import generator
from demo.shapes import SHAPES, Placement, coverage, extent
from demo.taxonomy import VOC, ObjectClass
from demo.textures import TEXTURES, Mapping, sample_texture


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_lie_in_the_unit_disc(shape: str):
    radius = np.linalg.norm(np.concatenate(SHAPES[shape]), axis=1)
    assert radius.max() == pytest.approx(1, abs=1e-6)


def test_coverage_of_a_disc_has_its_area_and_centre():
    alpha = coverage("disc", Placement(x=30.5, y=20.0, diameter=24.0), 40, 60).full(40, 60)
    assert alpha.sum() == pytest.approx(np.pi * 12**2, rel=0.03)
    ys, xs = np.mgrid[:40, :60] + 0.5
    assert (alpha * xs).sum() / alpha.sum() == pytest.approx(30.5, abs=0.1)
    assert (alpha * ys).sum() / alpha.sum() == pytest.approx(20.0, abs=0.1)
    assert ((alpha > 0) & (alpha < 1)).any(), "edges are anti-aliased"


def test_ring_has_a_hole():
    alpha = coverage("ring", Placement(x=20, y=20, diameter=30), 40, 40).full(40, 40)
    assert alpha[20, 20] == 0
    assert alpha[20, 9] == 1


def test_aspect_keeps_the_area_and_turns_with_the_object():
    wide = Placement(x=40, y=40, diameter=40, aspect=2.0)
    tall = Placement(x=40, y=40, diameter=40, aspect=2.0, angle=np.pi / 2)
    lower, upper = extent("disc", wide)
    assert (upper - lower)[0] / (upper - lower)[1] == pytest.approx(2, rel=0.01)
    lower, upper = extent("disc", tall)
    assert (upper - lower)[0] / (upper - lower)[1] == pytest.approx(0.5, rel=0.01)
    assert coverage("disc", wide, 80, 80).alpha.sum() == pytest.approx(np.pi * 400, rel=0.03)


@pytest.mark.parametrize("x", [-50.0, 3.0, 37.0, 90.0])
def test_coverage_is_cut_at_the_border(x: float):
    part = coverage("square", Placement(x=x, y=20, diameter=20), 40, 40)
    whole = coverage("square", Placement(x=x + 60, y=20, diameter=20), 40, 160).full(40, 160)
    np.testing.assert_array_equal(part.full(40, 40), whole[:, 60:100])


@pytest.mark.parametrize("texture", TEXTURES)
def test_textures_show_both_tones(texture: str):
    mapping = Mapping.random(generator(0, texture), period=12.0)
    weight = sample_texture(texture, mapping, slice(0, 96), slice(0, 96), generator(1, texture))
    assert weight.shape == (96, 96)
    assert weight.dtype == np.float32
    assert weight.min() == 0
    assert weight.max() == 1
    assert 0.15 < weight.mean() < 0.85
    between = (weight > 0.02) & (weight < 0.98)
    assert 0.02 < between.mean() < 0.6, "only edges are between the two"


def test_texture_of_a_window_is_part_of_that_of_the_image():
    mapping = Mapping.random(generator(0), period=9.0)
    for texture in TEXTURES:
        image = sample_texture(texture, mapping, slice(0, 50), slice(0, 60), generator(1))
        window = sample_texture(texture, mapping, slice(10, 30), slice(20, 60), generator(1))
        np.testing.assert_allclose(image[10:30, 20:60], window, atol=1e-5)


def test_colours_contrast():
    for index in range(50):
        rng = generator(0, "colours", index)
        surround = rng.uniform(0, 1, 3)
        first, second = contrasting_pair(rng, surround)
        assert abs((first - second) @ [0.299, 0.587, 0.114]) > 0.25
        assert np.linalg.norm((first + second) / 2 - surround) > 0.25


def test_unknown_names_are_errors():
    with pytest.raises(KeyError):
        coverage("blob", Placement(0, 0, 1), 8, 8)
    with pytest.raises(KeyError):
        object_image(generator(0), ObjectClass("disc", "plaid"), 32, 32)


def test_images_depend_on_their_whole_key():
    def image(*key: str | int, seed: int = 0) -> np.ndarray:
        return object_image(generator(seed, *key), VOC["cat"], 40, 50)

    first = image("train", 3)
    assert first.shape == (40, 50, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, image("train", 3))
    for other in (image("train", 4), image("val", 3), image("train", 3, seed=1)):
        assert (first != other).mean() > 0.5
