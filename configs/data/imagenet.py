# ImageNet-1k (ILSVRC 2012). Non-commercial research; an account and its terms are needed.
mirrors = "imagenet"
layout = "folder"  # {train,val}/<wnid>/*.JPEG: the validation images sorted into their classes
root = "imagenet"
splits = dict(train="train", test="val")
sizes = dict(train=1_281_167, val=50_000)
classes = 1000
get_it = "image-net.org (ILSVRC2012 train and val archives, val sorted by class); see docs/data.md"
