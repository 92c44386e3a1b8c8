"""Comparisons of backbones, tricks and transfer."""
