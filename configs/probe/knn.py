# k-NN on the pooled features of the frozen backbone, votes weighted as in DINO.
# make probe VARIANT=best DATASET=cifar10 MODE=knn PROTOCOL=paper

resolution = 224
crop_ratio = 0.875
limit = None  # debug run: train on this many samples only
train_size = None  # few-shot: 1000 is VTAB's
ks = (10, 20)
temperature = 0.07
