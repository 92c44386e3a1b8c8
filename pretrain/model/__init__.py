"""Architectures, initialisation and size of networks."""
