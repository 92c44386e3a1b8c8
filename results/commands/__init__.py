"""The commands of results: one file a group, each with parser and functions."""
