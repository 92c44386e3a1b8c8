# The rendered stand-in for ADE20K: 16 of its 150 labels occur.
_base_ = "../ade20k.py"

root = "demo/ADEChallengeData2016"
sizes = dict(training=300, validation=120)
get_it = "make data PROTOCOL=demo"
