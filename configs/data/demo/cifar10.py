# The rendered stand-in for CIFAR-10: 10 kinds of objects, none of them among the source classes.
_base_ = "../cifar10.py"

root = "demo/cifar-10-batches-py"
sizes = dict(train=2_000, test=1_000)
md5 = dict(_delete_=True)
get_it = "make data PROTOCOL=demo"
