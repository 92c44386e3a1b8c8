# The papers' own scale: ImageNet, Places365, VOC, ADE20K; many GPUs. All settings as they stand.
name = "paper"
note = "the papers' data sets at the papers' scale"

architectures = dict()
datasets = {
    "imagenet": "imagenet",
    "imagenet-real": "imagenet-real",
    "imagenet-v2": "imagenet-v2",
    "places365": "places365",
    "places365-large": "places365-large",
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "flowers102": "flowers102",
    "stanford-cars": "stanford-cars",
    "inaturalist2019": "inaturalist2019",
    "voc": "voc",
    "ade20k": "ade20k",
    "coco": "coco",  # in neither paper
}
pretrain = dict()
finetune = dict()
linear_sgd = dict()
linear = dict()
detect = dict()
segment = dict()
