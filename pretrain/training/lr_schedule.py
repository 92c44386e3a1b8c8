"""The learning rate of every step, put together from warm-up, decay and linear scaling."""

from core.selection import evenly
from pretrain.recipe import Recipe
from pretrain.tricks.linear_scaling import linear_scaling
from pretrain.tricks.lr_decay import cosine_decay, step_decay
from pretrain.tricks.lr_warmup import lr_warmup

POINTS = 50  # of an epoch, in its history


def total_steps(recipe: Recipe, steps_per_epoch: int) -> int:
    return max(1, round(recipe.epochs * steps_per_epoch))


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step, counted from 0 over the whole training."""
    peak = recipe.lr
    if recipe.linear_scaling:
        peak = linear_scaling(peak, recipe.batch_size, recipe.base_batch_size)
    total = total_steps(recipe, steps_per_epoch)
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return peak * lr_warmup(step, warmup)
    if recipe.lr_decay == "cosine":
        return peak * cosine_decay(step - warmup, max(1, total - warmup))
    return peak * step_decay(step / total)


def of_epoch(recipe: Recipe, end: int, steps_per_epoch: int) -> list[list[float]]:
    """Where an epoch's steps begin, in epochs, and their learning rates: what a history keeps.

    Args:
        end: the step that the epoch ends before, counted from 0 over the whole training.

    Returns:
        (epoch, learning rate) of every step, or of `POINTS` of more, the first and last among them.
    """
    start = (end - 1) // steps_per_epoch * steps_per_epoch
    return [
        [step / steps_per_epoch, learning_rate(recipe, step, steps_per_epoch)]
        for step in evenly(range(start, end), POINTS)
    ]
