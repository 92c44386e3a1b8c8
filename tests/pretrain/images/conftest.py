"""Small datasets on disk: their configs, their images, and what the reader says of bad ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from core import configs as core_configs
from core.errors import InputError
from pretrain.images import datasets


@pytest.fixture
def declare(configs: Path) -> Callable[..., None]:
    """Writes a file of configs/data."""

    def write(name: str, **settings: object) -> None:
        settings = {"mirrors": "imagenet", "root": "set", "get_it": "ask the librarian", **settings}
        lines = [f"{key} = {value!r}\n" for key, value in settings.items()]
        (configs / "data" / f"{name}.py").write_text("".join(lines))

    return write


@pytest.fixture
def save_image() -> Callable[[Path, int], None]:
    """Saves a 16 x 12 image of one colour, identified by its red channel."""

    def save(path: Path, red: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 12), (red, 60, 90)).save(path)

    return save


@pytest.fixture
def reds() -> Callable[[datasets.ImageSet], list[int]]:
    """The red channel of each image of a set."""
    return lambda images: [images.image(i).getpixel((8, 6))[0] for i in range(len(images))]


@pytest.fixture
def refusal() -> Callable[..., str]:
    """Loads a dataset that is missing or damaged and returns the error's message.

    The message is one line with the dataset, the given words, and where to get the data.
    """

    def load(name: str, folder: Path, *words: str, role: str = "train") -> str:
        with pytest.raises(InputError) as caught:
            datasets.load(name, folder, role)
        message = str(caught.value)
        assert message.startswith(f"{name}: ")
        assert message.endswith(f"To get it: {core_configs.config(name).get_it}")
        assert "\n" not in message
        for word in words:
            assert word in message
        return message

    return load
