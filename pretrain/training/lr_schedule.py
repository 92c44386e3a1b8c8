"""The learning rate of every step, put together from warm-up, decay and linear scaling."""

from pretrain.recipe import Recipe
from pretrain.tricks.linear_scaling import linear_scaling
from pretrain.tricks.lr_decay import cosine_decay, step_decay
from pretrain.tricks.lr_warmup import lr_warmup


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
