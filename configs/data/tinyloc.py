# Nine images of Tiny-ImageNet's classes 101-120 in one of 192 x 192, with their hand-drawn boxes.
mirrors = "voc"
layout = "voc"
root = "tinyloc"
wnids = (100, 120)  # in the order of wnids.txt; the source of the mini protocol has 0 to 100
parts = dict(train=[("", "trainval")], test=[("", "test")])
sizes = dict(train=1_111, test=111)
classes = None  # the wnids of tinyloc/classes.txt
get_it = "make data PROTOCOL=mini, once Tiny-ImageNet is there; see docs/data.md"
