"""Downstream: one bridge from any checkpoint into detection, segmentation and probes."""
