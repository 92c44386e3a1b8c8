# The training part of tinyloc in two, to choose a detector's settings on: never the test pictures.
_base_ = "tinyloc.py"

mirrors = "voc-val"
parts = dict(train=[("", "train")], test=[("", "val")])
sizes = dict(train=889, test=222)
