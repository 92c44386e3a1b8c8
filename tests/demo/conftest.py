"""One tiny rendering, shared by tests that only read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo.render import render
from demo.sizes import Sizes

TINY = Sizes(
    imagenet_train_per_class=2,
    imagenet_val_per_class=1,
    voc2007_trainval=24,
    voc2007_test=12,
    voc2012_trainval=6,
    ade_training=10,
    ade_validation=4,
    places_train_per_category=2,
    places_val_per_category=1,
    cifar_per_batch=10,
    cifar_test=20,
)


@dataclass(frozen=True)
class Rendering:
    """A rendering: its folder, its sizes and its manifest."""

    root: Path
    sizes: Sizes
    manifest: dict[str, Any]


@pytest.fixture(scope="session")
def rendering(tmp_path_factory: pytest.TempPathFactory) -> Rendering:
    root = tmp_path_factory.mktemp("data") / "demo"
    manifest = render(root, seed=0, sizes=TINY)
    return Rendering(root, TINY, manifest)
