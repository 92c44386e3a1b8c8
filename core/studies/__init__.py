"""Studies: many runs that need each other, as a graph, planned and run on this machine."""
