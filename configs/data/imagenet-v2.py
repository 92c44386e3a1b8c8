# ImageNet-V2 (Recht et al., 2019), matched frequency: 10 new images for each class of ImageNet.
mirrors = "imagenet-v2"
labels_of = "imagenet"  # its classes, in its order
layout = "folder"  # <split>/<class index>/*.jpeg
root = "imagenet-v2"
splits = dict(train=None, test="imagenetv2-matched-frequency-format-val")
sizes = {"imagenetv2-matched-frequency-format-val": 10_000}
classes = 1000
get_it = "github.com/modestyachts/ImageNetV2 (imagenetv2-matched-frequency); see docs/data.md"
