"""Each metric once, with weights per image for the bootstrap."""
