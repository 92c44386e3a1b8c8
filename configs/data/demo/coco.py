# The rendered stand-in for COCO: the images of the one for VOC, whose difficult objects are crowds.
_base_ = "../coco.py"

root = "demo/VOCdevkit"
annotations = dict(
    train="annotations/instances_trainval.json", test="annotations/instances_test.json"
)
folders = dict(train="", test="")
splits = dict(train="trainval", test="test")
sizes = dict(_delete_=True, trainval=500, test=250)
classes = 20
get_it = "make data PROTOCOL=demo"
