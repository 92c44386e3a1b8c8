"""Intervals, bootstrap and paired tests."""
