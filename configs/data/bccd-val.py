# BCCD's own train and val lists, to choose a detector's settings on: never the test images.
_base_ = "bccd.py"

mirrors = "bccd-val"
parts = dict(train=[("", "train")], test=[("", "val")])
sizes = dict(train=205, test=87)
