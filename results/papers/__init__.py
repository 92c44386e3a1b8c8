"""The papers' tables as data, and their published figures."""
