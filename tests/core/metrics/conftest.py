"""mmdet and mmseg are the oracles of some metrics; their imports look for mmcv's operators."""

from downstream.openmmlab import compat

compat.prepare()
