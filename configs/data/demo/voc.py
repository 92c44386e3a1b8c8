# The rendered stand-in for PASCAL VOC: its 20 class names on kinds of objects the source lacks.
_base_ = "../voc.py"

root = "demo/VOCdevkit"
sizes = dict(train=500, test=250)
get_it = "make data PROTOCOL=demo"
