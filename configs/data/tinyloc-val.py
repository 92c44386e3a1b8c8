# The training part of tinyloc in two, to choose a detector's settings on: never the test images.
_base_ = "tinyloc.py"

mirrors = "tinyloc-val"
parts = dict(train=[("", "train")], test=[("", "val")])
sizes = dict(train=889, test=222)
get_it = "build tinyloc again: remove its folder, then make data PROTOCOL=mini; see docs/data.md"
