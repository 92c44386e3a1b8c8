"""The (shape, texture) pair of each class of each dataset.

Of the 8 x 8 table of pairs, five (wrapped) diagonals are the pretraining classes: 40 pairs, five of
each shape and five of each texture. The other three, 24 pairs, are held out for the downstream
datasets. A class has the same pair in VOC and CIFAR-10 (aeroplane, airplane), and ADE20K's things
look like VOC's.
"""

from __future__ import annotations

from dataclasses import dataclass

from demo.shapes import SHAPES
from demo.textures import TEXTURES


@dataclass(frozen=True, order=True)
class ObjectClass:
    """The looks of a class: the shape alone or the texture alone does not identify it."""

    shape: str
    texture: str


_HELD_OUT_DIAGONALS = (0, 3, 5)


def _pairs(held_out: bool) -> tuple[ObjectClass, ...]:
    """The pairs on the held-out diagonals, or on the others, diagonal by diagonal."""
    shapes, textures = list(SHAPES), list(TEXTURES)
    return tuple(
        ObjectClass(shape, textures[(row + diagonal) % len(textures)])
        for diagonal in range(len(textures))
        if (diagonal in _HELD_OUT_DIAGONALS) == held_out
        for row, shape in enumerate(shapes)
    )


SOURCE_CLASSES = _pairs(held_out=False)
_HELD_OUT = _pairs(held_out=True)

# n00000001 ... n00000040, in the format of ImageNet's WordNet ids.
IMAGENET: dict[str, ObjectClass] = {
    f"n{number:08d}": pair for number, pair in enumerate(sorted(SOURCE_CLASSES), start=1)
}

# fmt: off
_VOC_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)
# fmt: on
# Of the last four held-out pairs, three are for classes that only CIFAR-10 has; one is unused.
VOC: dict[str, ObjectClass] = dict(zip(_VOC_NAMES, _HELD_OUT[:20], strict=True))

# In the order of labels 0 ... 9.
CIFAR10: dict[str, ObjectClass] = {
    "airplane": VOC["aeroplane"],
    "automobile": VOC["car"],
    "bird": VOC["bird"],
    "cat": VOC["cat"],
    "deer": _HELD_OUT[20],
    "dog": VOC["dog"],
    "frog": _HELD_OUT[21],
    "horse": VOC["horse"],
    "ship": VOC["boat"],
    "truck": _HELD_OUT[22],
}

# Ids and names of SceneParse150; stuff differs in texture (see demo.scenes).
ADE_STUFF: dict[str, int] = {
    "wall": 1,
    "building": 2,
    "sky": 3,
    "floor": 4,
    "tree": 5,
    "ceiling": 6,
    "road": 7,
    "grass": 10,
    "mountain": 17,
}
ADE_THINGS: dict[str, int] = {
    "person": 13,
    "table": 16,
    "chair": 20,
    "car": 21,
    "sofa": 24,
    "airplane": 91,
    "animal": 127,
}
ADE_IGNORE = 0

# The possible looks of each ADE20K thing; the real dataset, too, has one id for all animals.
ADE_LOOKS: dict[str, tuple[ObjectClass, ...]] = {
    "person": (VOC["person"],),
    "table": (VOC["diningtable"],),
    "chair": (VOC["chair"],),
    "car": (VOC["car"],),
    "sofa": (VOC["sofa"],),
    "airplane": (VOC["aeroplane"],),
    "animal": (VOC["cow"], VOC["horse"], VOC["sheep"]),
}
