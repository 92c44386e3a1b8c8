# Scores of the frozen backbone's training features, from which a fine-tuning is to be foretold
# without one: LogME, H-score, and the nearest neighbours' accuracy on held-out pictures.
# make probe VARIANT=best DATASET=cifar10 MODE=transferability PROTOCOL=paper

resolution = 224
crop_ratio = 0.875
limit = None  # of so many training samples only, for a trial
train_size = None  # few-shot: 1000 is VTAB's
held_out = 0.2  # of each class of the training set, for the nearest neighbours
k = 20
temperature = 0.07
