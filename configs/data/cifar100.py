# CIFAR-100, python version, its 100 fine labels.
mirrors = "cifar100"
layout = "cifar"
root = "cifar-100-python"
splits = dict(train="train", test="test")
sizes = dict(train=50_000, test=10_000)
classes = 100
batches = dict(train=["train"], test=["test"])
meta = "meta"
label_key = "fine_labels"
names_key = "fine_label_names"
md5 = dict(train="16019d7e3df5f24257cddd939b257f8d", test="f0ef6b0ae62326f3e7ffdfab6717acfc")
get_it = "cs.toronto.edu/~kriz/cifar.html (cifar-100-python.tar.gz); see docs/data.md"
