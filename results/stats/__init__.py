"""Intervals, bootstraps and paired tests."""
