"""Pretraining: the recipes of Bag of Tricks, trained with torch and timm."""
