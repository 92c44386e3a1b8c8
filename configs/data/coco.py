# COCO 2017: 80 classes of objects with boxes and masks; trained on train2017, tested on val2017.
mirrors = "coco"
layout = "coco"
root = "coco"
annotations = dict(
    train="annotations/instances_train2017.json", test="annotations/instances_val2017.json"
)
folders = dict(train="train2017", test="val2017")
splits = dict(train="train2017", test="val2017")
sizes = dict(train2017=118_287, val2017=5_000)
classes = 80
get_it = "cocodataset.org (2017 train and val images, and their annotations); see docs/data.md"
