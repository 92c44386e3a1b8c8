# The rendered stand-in for Places365: 12 kinds of scenes.
_base_ = "../places365.py"

root = "demo/places365_standard"
sizes = dict(train=720, val=300)
classes = 12
unlabelled = None  # no test server for rendered scenes
get_it = "make data PROTOCOL=demo"
