# ADE20K scene parsing (SceneParse150): labels 1 to 150, 0 is ignored.
mirrors = "ade20k"
layout = "ade20k"
root = "ADEChallengeData2016"
dataset = dict(type="ADE20KDataset")  # mmseg's: reads label 0 as "ignore" and 1..150 as 0..149
folders = dict(
    train=("images/training", "annotations/training"),
    test=("images/validation", "annotations/validation"),
)
splits = dict(train="training", test="validation")
sizes = dict(training=20_210, validation=2_000)
classes = 150
get_it = "sceneparsing.csail.mit.edu (ADEChallengeData2016.zip); see docs/data.md"
