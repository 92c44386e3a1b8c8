# The rendered stand-in for ImageNet: 40 kinds of objects, each a shape with a texture.
_base_ = "../imagenet.py"

root = "demo/imagenet"
sizes = dict(train=4_000, val=1_000)
classes = 40
get_it = "make data PROTOCOL=demo"
