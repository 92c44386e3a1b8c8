# ImageNet-ReaL (Beyer et al., 2020): the validation images, each with every label that fits it.
_base_ = "imagenet.py"

mirrors = "imagenet-real"
labels_of = "imagenet"  # its classes, in its order
splits = dict(train=None)
sizes = dict(_delete_=True, val=50_000)
labels_file = "real.json"  # beside train and val: a list of class indices for each image, by number
get_it = "ImageNet, and real.json of github.com/google-research/reassessed-imagenet beside it"
