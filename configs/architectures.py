# Strikes Back, table 3: its rows, and timm's names for them.
# make pretrain VARIANT=a1 ARCH=seresnet50 PROTOCOL=paper GPUS=4
strikes_back_table3 = {
    "ResNet-18": "resnet18",
    "ResNet-34": "resnet34",
    "ResNet-50": "resnet50",
    "ResNet-101": "resnet101",
    "ResNet-152": "resnet152",
    "RegNetY-4GF": "regnety_040",
    "RegNetY-8GF": "regnety_080",
    "RegNetY-16GF": "regnety_160",
    "RegNetY-32GF": "regnety_320",
    "SE-ResNet-50": "seresnet50",
    "SENet-154": "senet154",
    "ResNet-50-D": "resnet50d",
    "ResNeXt-50-32x4d": "resnext50_32x4d",
    "EfficientNet-B0": "efficientnet_b0",
    "EfficientNet-B1": "efficientnet_b1",
    "EfficientNet-B2": "efficientnet_b2",
    "EfficientNet-B3": "efficientnet_b3",
    "EfficientNet-B4": "efficientnet_b4",
    "ViT-Ti": "vit_tiny_patch16_224",
    "ViT-S": "vit_small_patch16_224",
    "ViT-B": "vit_base_patch16_224",
    "ECA-ResNet-50-T": "ecaresnet50t",
    "EfficientNetV2-rw-S": "efficientnetv2_rw_s",
    "EfficientNetV2-rw-M": "efficientnetv2_rw_m",
    "ECA-ResNet-269-D": "ecaresnet269d",
}

# Training and evaluation pixels of the architectures that the papers do not feed a recipe's own:
# of a recipe at 224/224 (Bag of Tricks, A1 and A2), and of one at 160/224 (A3).
resolutions = {
    "inception_v3": {(224, 224): (299, 299)},  # Bag of Tricks, table 2
    "efficientnet_b1": {(224, 224): (240, 240)},
    "efficientnet_b2": {(224, 224): (260, 260), (160, 224): (192, 256)},
    "efficientnet_b3": {(224, 224): (300, 300), (160, 224): (224, 288)},
    "efficientnet_b4": {(224, 224): (380, 380), (160, 224): (320, 380)},
    "efficientnetv2_rw_s": {(224, 224): (288, 384), (160, 224): (224, 288)},
    "efficientnetv2_rw_m": {(224, 224): (320, 384), (160, 224): (256, 352)},
    "ecaresnet269d": {(224, 224): (320, 416), (160, 224): (256, 320)},
}
