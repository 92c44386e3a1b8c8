"""Finds, compares, exports and verifies records."""
