# iNaturalist 2019 (FGVC6), its validation images for the test: three for each species. ResNet
# strikes back prints 265,240 and 3,003, of the same sum: 268,243, as on the competition's page.
mirrors = "inaturalist2019"
layout = "inaturalist"  # train2019.json, val2019.json, train_val2019/<kind>/<species>/*.jpg
root = "inaturalist2019"
splits = dict(train="train", test="val")
listings = dict(train="train2019.json", val="val2019.json")
sizes = dict(train=265_213, val=3_030)
classes = 1010
get_it = "github.com/visipedia/inat_comp, 2019 (train_val2019, train2019.json and val2019.json)"
