"""Values that a recipe's fields accept and refuse: types, ranges, mean and std."""

from __future__ import annotations

import pytest

from core.errors import InputError
from pretrain import recipe

NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def best() -> recipe.Recipe:
    return recipe.load("best", "demo", {})


NUMBER = "Input should be a valid number"
INT = "Input should be a valid integer"
BOOL = "Input should be a valid boolean"


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        ({"epochs": "many"}, NUMBER),
        ({"lr": None}, NUMBER),
        ({"lr": True}, NUMBER),
        ({"lr": "0.1"}, NUMBER),
        ({"batch_size": 16.5}, INT),
        ({"batch_size": 16.0}, INT),
        ({"batch_size": True}, INT),
        ({"batch_size": None}, INT),
        ({"linear_scaling": 1}, BOOL),
        ({"no_bias_decay": "yes"}, BOOL),
        ({"lr_decay": "linear"}, "Input should be 'step' or 'cosine'"),
        ({"precision": "bf16"}, "Input should be 'fp32' or 'fp16'"),
        ({"interpolation": "nearest"}, "Input should be 'bilinear' or 'bicubic'"),
        ({"optimiser": "adam"}, "Input should be 'sgd' or 'lamb'"),
        ({"loss": "mse"}, "Input should be 'ce' or 'bce'"),
        ({"init": "he"}, "Input should be 'xavier' or 'timm'"),
        ({"limit": "all"}, INT),
        ({"limit": 10.5}, INT),
        ({"distill": 3}, "Input should be a valid string"),
        ({"randaugment": 7}, "Input should be a valid string"),
        ({"arch": 50}, "Input should be a valid string"),
        ({"mean": 0.5}, "Input should be a valid tuple"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(
    best: recipe.Recipe, option: dict, wanted: str
) -> None:
    ((key, value),) = option.items()
    with pytest.raises(InputError) as caught:
        recipe.override(best, option)

    assert str(caught.value) == f"option: {key}: {value!r}: {wanted}"


# What the formulas allow: a rate above 0, a share below 1, a count of at least 1.
OUT_OF_RANGE = {
    **dict.fromkeys(("epochs", "lr", "distill_temperature"), (0, -1, INF, NAN)),
    **dict.fromkeys(("warmup_epochs", "weight_decay", "mixup_alpha"), (-0.1, INF, NAN)),
    **dict.fromkeys(("cutmix_alpha", "pca_noise"), (-0.1, INF, NAN)),
    **dict.fromkeys(("momentum", "label_smoothing", "hsv_jitter"), (-0.1, 1, 1.5, NAN)),
    **dict.fromkeys(("drop_path", "ema_decay"), (-0.1, 1, 1.5, NAN)),
    **dict.fromkeys(("batch_size", "base_batch_size", "train_resolution"), (0, -8)),
    **dict.fromkeys(("eval_resolution", "repeats", "accumulation", "limit"), (0, -8)),
    "crop_ratio": (0, -0.5, 1.5, NAN),
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in OUT_OF_RANGE.items() for value in values]
)
def test_a_value_out_of_range_is_refused(best: recipe.Recipe, key: str, value: float) -> None:
    with pytest.raises(InputError) as caught:
        recipe.override(best, {key: value})

    message = str(caught.value)
    assert message.startswith(f"option: {key}: {value!r}: Input should be ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", ["a", 0.5, 0.5]),
        ("mean", [0.5, 0.5]),
        ("std", [1.0, 1.0, 1.0, 1.0]),
        ("mean", [NAN, 0.5, 0.5]),
        ("mean", [INF, 0.5, 0.5]),
        ("std", [0.25, 0.0, 0.25]),  # pixels are divided by it
        ("std", [0.25, -1.0, 0.25]),
    ],
)
def test_impossible_means_and_stds_are_refused(best: recipe.Recipe, key: str, value: list) -> None:
    with pytest.raises(InputError, match=f"^option: {key}"):
        recipe.override(best, {key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 3),  # an int for a float
        ("momentum", 0),
        ("label_smoothing", 0),
        ("crop_ratio", 1),
        ("mean", (0.5, 0.5, 0.5)),
        ("mean", [0, 0.5, 1]),  # a list for a tuple
        ("distill", None),
        ("limit", 1),
    ],
)
def test_a_value_at_the_end_of_its_range_or_of_a_near_type_is_taken(
    best: recipe.Recipe, key: str, value: object
) -> None:
    found = getattr(recipe.override(best, {key: value}), key)

    assert found == (tuple(value) if isinstance(value, list) else value)
    kind = {"mean": tuple, "limit": int, "distill": type(None)}.get(key, float)
    assert type(found) is kind
