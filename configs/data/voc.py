# PASCAL VOC: trained on 2007 trainval and 2012 trainval, tested on 2007 test.
mirrors = "voc"
layout = "voc"
root = "VOCdevkit"
parts = dict(train=[("VOC2007", "trainval"), ("VOC2012", "trainval")], test=[("VOC2007", "test")])
sizes = dict(train=16_551, test=4_952)
classes = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor"
).split()
get_it = "host.robots.ox.ac.uk/pascal/VOC (2007 and 2012 trainval, 2007 test); see docs/data.md"
