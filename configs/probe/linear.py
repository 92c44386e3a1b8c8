# Linear probe: multinomial logistic regression on the pooled features of the frozen backbone, its
# L2 penalty chosen on a held-out part of the training set, then fitted once more on all of it.

resolution = 224
crop_ratio = 0.875
limit = None  # debug run: train on this many samples only
train_size = None  # few-shot: 1000 is VTAB's, 800 to fit and 200 to choose on, then all to fit
held_out = 0.2  # of each class of the training set; of a few-shot one, in all
penalties = [10.0**k for k in range(-6, 3)]  # on standardised features, per sample
