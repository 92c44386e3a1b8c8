"""Time to fit a linear probe for a grid of L2 penalties: ours against scikit-learn.

    python benchmarks/linear_probe.py                                   # a minute or two
    python benchmarks/linear_probe.py --samples 10000 --dims 2048 --classes 100 --rounds 3
    python benchmarks/linear_probe.py --features FILE.npz               # x [N, D], labels [N]

Both minimise the same objectives on the same standardised features in float64, with the same number
of threads. scikit-learn runs twice: with its default tolerance and with `--tolerance`. The quality
of a solution is its excess: its objective divided by the lowest one that any solver found, minus 1,
for the worst penalty. Compare times only at a similar excess. Rounds are interleaved; seconds are
medians over rounds, and ratios are medians of the ratios in each round.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import sklearn
import torch
from mmengine.config import Config
from sklearn.linear_model import LogisticRegression

from downstream.probes import logistic

Solution = list[tuple[np.ndarray, np.ndarray]]  # weights [D, K] and biases [K] of each penalty
PENALTIES = Config.fromfile(str(Path(__file__).parents[1] / "configs/probe/linear.py")).penalties


def synthetic(n: int, d: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features like a network's: non-negative and correlated, with variances that decay by rank."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % k)
    centres = 0.5 * rng.normal(size=(k, d))
    scales = np.arange(1, d + 1) ** -0.75
    x = (centres[labels] + rng.normal(size=(n, d))) * scales
    x = x @ np.linalg.qr(rng.normal(size=(d, d)))[0]
    return np.maximum(x + 0.5 * x.std(), 0), labels


def standardised(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    deviation = x.std(axis=0)
    return (x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1)


def objective(
    x: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray, penalty: float
) -> float:
    logits = x @ weight + bias
    logits -= logits.max(axis=1, keepdims=True)
    loss = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(x)), labels]
    return float(loss.mean() + penalty / 2 * (weight**2).sum())


def ours(x: np.ndarray, labels: np.ndarray, penalties: Sequence[float]) -> Solution:
    weights, biases = logistic.solve(
        torch.from_numpy(x), torch.from_numpy(labels), int(labels.max()) + 1, penalties
    )
    return [(w.numpy().T, b.numpy()) for w, b in zip(weights, biases, strict=True)]


def peers(tolerance: float) -> Callable[[np.ndarray, np.ndarray, Sequence[float]], Solution]:
    def solve(x: np.ndarray, labels: np.ndarray, penalties: Sequence[float]) -> Solution:
        found = []
        for penalty in penalties:
            model = LogisticRegression(C=1 / (len(x) * penalty), tol=tolerance, max_iter=100_000)
            model.fit(x, labels)
            found.append((model.coef_.T, model.intercept_))
        return found

    return solve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--dims", type=int, default=512)
    parser.add_argument("--classes", type=int, default=10, help="3 or more")
    parser.add_argument("--features", type=Path, help="an .npz with x [N, D] and labels [N]")
    parser.add_argument("--tolerance", type=float, default=1e-8, help="scikit-learn's second")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        if os.environ.get(name, str(args.threads)) != str(args.threads):
            parser.error(f"{name}={os.environ[name]} in the environment, --threads {args.threads}")
    torch.set_num_threads(args.threads)
    if args.features:
        file = np.load(args.features)
        x, labels = file["x"], file["labels"].astype(np.int64)
    else:
        x, labels = synthetic(args.samples, args.dims, args.classes, seed=0)
    x = standardised(x)
    names = {
        "ours": ours,
        "scikit-learn, tol 1e-4": peers(1e-4),
        f"scikit-learn, tol {args.tolerance:g}": peers(args.tolerance),
    }
    seconds: dict[str, list[float]] = {name: [] for name in names}
    found: dict[str, list[float]] = {}
    warnings.simplefilter("ignore")
    for _ in range(args.rounds):
        for name, solve in names.items():
            began = time.perf_counter()
            solution = solve(x, labels, PENALTIES)
            seconds[name].append(time.perf_counter() - began)
            found[name] = [
                objective(x, labels, weight, bias, penalty)
                for (weight, bias), penalty in zip(solution, PENALTIES, strict=True)
            ]
    least = [min(values) for values in zip(*found.values(), strict=True)]
    print(
        f"N {len(x)}, D {x.shape[1]}, K {labels.max() + 1}, {len(PENALTIES)} penalties "
        f"{PENALTIES[0]:g} to {PENALTIES[-1]:g}; {args.threads} threads, {args.rounds} rounds; "
        f"{platform.machine()}, torch {torch.__version__}, scikit-learn {sklearn.__version__}"
    )
    print("| solver | seconds | ours is faster by | excess of the objective |")
    print("| :-- | --: | --: | --: |")
    for name, times in seconds.items():
        ratio = statistics.median(t / o for t, o in zip(times, seconds["ours"], strict=True))
        excess = max(a / b - 1 for a, b in zip(found[name], least, strict=True))
        print(f"| {name} | {statistics.median(times):.2f} | {ratio:.1f} | {excess:.1e} |")


if __name__ == "__main__":
    main()
