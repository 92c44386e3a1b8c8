"""The tasks."""

from __future__ import annotations

PROBES = ("linear", "linear-sgd", "knn", "finetune", "transferability")


DETECTORS = ("c4", "fpn")


VALIDATION = "-val"  # at the end of a data set's name: a part to choose settings on
