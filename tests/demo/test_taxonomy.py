"""The classes of each dataset, and the pairs held out for the downstream ones."""

from __future__ import annotations

from demo.scenes import PLACES, STUFF
from demo.shapes import SHAPES
from demo.taxonomy import ADE_LOOKS, ADE_STUFF, ADE_THINGS, CIFAR10, IMAGENET, VOC
from demo.textures import TEXTURES


def test_source_covers_every_shape_and_every_texture():
    looks = IMAGENET.values()
    assert len(set(looks)) == len(IMAGENET) == 40
    assert {pair.shape for pair in looks} == set(SHAPES)
    assert {pair.texture for pair in looks} == set(TEXTURES)


def test_neither_shape_nor_texture_alone_identifies_a_class():
    for looks in (IMAGENET.values(), VOC.values()):
        for attribute in ("shape", "texture"):
            values = [getattr(pair, attribute) for pair in looks]
            assert all(values.count(value) > 1 for value in values)


def test_downstream_pairs_are_held_out_of_the_source():
    source = set(IMAGENET.values())
    things = {pair for looks in ADE_LOOKS.values() for pair in looks}
    for downstream in (set(VOC.values()), set(CIFAR10.values()), things):
        assert source.isdisjoint(downstream)


def test_classes_of_a_dataset_look_different():
    assert len(set(VOC.values())) == len(VOC) == 20
    assert len(set(CIFAR10.values())) == len(CIFAR10) == 10
    assert len({stuff.texture for stuff in STUFF.values()}) == len(STUFF)


def test_scene_layouts_have_known_stuff_and_things():
    assert STUFF.keys() == ADE_STUFF.keys()
    assert ADE_LOOKS.keys() == ADE_THINGS.keys()
    assert len(set(PLACES.values())) == len(PLACES) == 12
    for layout in PLACES.values():
        assert set(layout.stuff) <= set(STUFF)
        assert set(layout.things) <= set(ADE_THINGS)
        assert len(layout.edges) == len(layout.stuff) - 1
        assert list(layout.edges) == sorted(layout.edges)
