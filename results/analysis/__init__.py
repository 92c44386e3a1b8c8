"""Pairwise comparisons, tricks, transfer and transferability scores."""
