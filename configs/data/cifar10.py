# CIFAR-10, python version.
mirrors = "cifar10"
layout = "cifar"
root = "cifar-10-batches-py"
splits = dict(train="train", test="test")
sizes = dict(train=50_000, test=10_000)
classes = 10
batches = dict(train=[f"data_batch_{i}" for i in range(1, 6)], test=["test_batch"])
meta = "batches.meta"
label_key = "labels"
names_key = "label_names"
md5 = dict(
    data_batch_1="c99cafc152244af753f735de768cd75f",
    data_batch_2="d4bba439e000b95fd0a9bffe97cbabec",
    data_batch_3="54ebc095f3ab1f0389bbae665268c751",
    data_batch_4="634d18415352ddfa80567beed471001a",
    data_batch_5="482c414d41f54cd18b22e5b47cb7c3cb",
    test_batch="40351d587109b95175f43aff81a1287e",
)
get_it = "cs.toronto.edu/~kriz/cifar.html (cifar-10-python.tar.gz); see docs/data.md"
