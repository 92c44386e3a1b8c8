"""Semantic segmentation with the dilated FCN, and its datasets."""
