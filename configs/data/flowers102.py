# Oxford 102 Flowers: trained on its training and validation images, as all who fine-tune on it do.
mirrors = "flowers102"
layout = "flowers102"  # jpg/image_<number>.jpg, imagelabels.mat, setid.mat
root = "flowers-102"
splits = dict(train="train", test="test")
parts = dict(train=("trnid", "valid"), test=("tstid",))
sizes = dict(train=2_040, test=6_149)
classes = 102
md5 = {
    "imagelabels.mat": "e0620be6f572b9609742df49c70aed4d",
    "setid.mat": "a5357ecc9cb78c4bef273ce3793fc85c",
}
get_it = "robots.ox.ac.uk/~vgg/data/flowers/102 (102flowers.tgz, imagelabels.mat, setid.mat)"
