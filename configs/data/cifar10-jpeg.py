# CIFAR-10 re-encoded as 32 x 32 JPEG, as an image folder: close to, not bit-identical with, CIFAR-10.
mirrors = "cifar10"
layout = "folder"
root = "cifar10-jpeg"
splits = dict(train="train", test="test")
sizes = dict(train=50_000, test=10_000)
classes = 10
get_it = "make data PROTOCOL=mini ARCHIVES=DIR; see docs/data.md"
