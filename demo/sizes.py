"""The number of images in each rendered dataset."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Image counts by dataset, and by class or category where the real dataset is balanced.

    No image depends on these numbers: a larger dataset begins with the images of a smaller one.
    """

    imagenet_train_per_class: int = 100
    imagenet_val_per_class: int = 25
    voc2007_trainval: int = 250
    voc2007_test: int = 250
    voc2012_trainval: int = 250
    ade_training: int = 300
    ade_validation: int = 120
    places_train_per_category: int = 60
    places_val_per_category: int = 25
    cifar_per_batch: int = 400
    cifar_test: int = 1000
