# Stanford Cars (Krause et al., 2013), by the lists of its devkit. Its original site is gone.
mirrors = "stanford-cars"
layout = "stanford-cars"  # cars_train, cars_test, devkit
root = "stanford_cars"
splits = dict(train="train", test="test")
listings = dict(
    train=("devkit/cars_train_annos.mat",),
    test=("devkit/cars_test_annos_withlabels.mat", "cars_test_annos_withlabels.mat"),
)
sizes = dict(train=8_144, test=8_041)
classes = 196
get_it = "torchvision's StanfordCars documentation has instructions (the same folders)"
