# CIFAR-10 re-encoded as 32 x 32 JPEG, in an image folder: close to CIFAR-10, not bit-identical.
mirrors = "cifar10"
layout = "folder"
root = "cifar10-jpeg"
splits = dict(train="train", test="test")
sizes = dict(train=50_000, test=10_000)
classes = 10
get_it = "cs.toronto.edu/~kriz/cifar.html, then make data PROTOCOL=mini; see docs/data.md"
