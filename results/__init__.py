"""Records of runs, and the papers' tables made from them."""
