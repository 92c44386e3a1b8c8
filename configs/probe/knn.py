# k nearest neighbours on the pooled features of the frozen backbone, weighted as in DINO.
# make probe VARIANT=best DATASET=cifar10 MODE=knn PROTOCOL=paper

resolution = 224
crop_ratio = 0.875
limit = None  # train on this many samples only, for a trial
train_size = None  # few-shot: 1000 is VTAB's
ks = (10, 20)
temperature = 0.07
