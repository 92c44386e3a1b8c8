# Transferability scores of the frozen backbone's training features, meant to predict fine-tuning
# accuracy: LogME, H-score, and k-NN accuracy on held-out images.
# make probe VARIANT=best DATASET=cifar10 MODE=transferability PROTOCOL=paper

resolution = 224
crop_ratio = 0.875
limit = None  # debug run: train on this many samples only
train_size = None  # few-shot: 1000 is VTAB's
held_out = 0.2  # of each class of the training set, for k-NN
k = 20
temperature = 0.07
