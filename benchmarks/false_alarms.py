"""The false-positive rate of the comparison of two backbones at p <= 0.05, by simulation.

    python benchmarks/false_alarms.py            # the table of docs/statistics.md, about a minute

Both backbones have the same distribution: each image has a probability of being classified
correctly from Beta(4, 1), 80 % on average, and each seed shifts all probabilities by one normal
number. A trial is a paired bootstrap as in `trickbench compare`, with fewer resamples, the same
ones in all trials.
"""

from __future__ import annotations

import argparse

import numpy as np

from results.stats.intervals import over_seeds, p_value, resamples

SEEDS = (1, 2, 3, 5)
SPREADS = (0.0, 1.0, 4.0)  # standard deviation over seeds, in points


def alarms(
    seeds: int, spread: float, trials: int, weights: np.ndarray, rng: np.random.Generator
) -> float:
    """The share of trials whose p-value is at most 0.05.

    Args:
        weights: [R, N], the count of each image in each resample.
    """
    images = weights.shape[1]
    found = 0
    for _ in range(trials):
        ease = rng.beta(4, 1, images)
        shifts = rng.normal(0, spread / 100, (2, seeds, 1))
        right = rng.random((2, seeds, images)) < np.clip(ease + shifts, 0, 1)
        replicated = 100 * right @ weights.T / images  # [2, seeds, R]
        means = [over_seeds(side, rng if seeds > 1 else None) for side in replicated]
        found += p_value(means[0] - means[1]) <= 0.05
    return found / trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    args = parser.parse_args()
    weights = np.concatenate([*resamples(args.images, args.resamples)])
    rng = np.random.default_rng(0)
    print(
        f"{args.trials} trials, {args.images} images, {args.resamples} resamples; standard "
        f"error of 5 %: {100 * np.sqrt(0.05 * 0.95 / args.trials):.1f} points"
    )
    print("seeds on each side" + "".join(f"{spread:>10g} points" for spread in SPREADS))
    for seeds in SEEDS:
        shares = [alarms(seeds, spread, args.trials, weights, rng) for spread in SPREADS]
        print(f"{seeds:>18}" + "".join(f"{100 * share:>14.1f} %" for share in shares))


if __name__ == "__main__":
    main()
