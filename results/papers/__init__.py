"""The papers' tables as specifications, and their published values."""
