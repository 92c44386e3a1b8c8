"""The training loop: batches, steps, learning rates, evaluation."""
