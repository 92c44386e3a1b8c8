# Nine images of Tiny-ImageNet's classes 101-120 in a 192 x 192 picture, with their hand-drawn boxes.
mirrors = "voc"
layout = "voc"
root = "tinyloc"
parts = dict(train=[("", "trainval")], test=[("", "test")])
sizes = dict(train=1_111, test=111)
classes = None  # the wnids of tinyloc/classes.txt
get_it = "make data PROTOCOL=mini ARCHIVES=DIR; see docs/data.md"
