# BCCD: blood cells under the microscope, 640 x 480, in VOC's layout (MIT licence).
mirrors = "bccd"
layout = "voc"
root = "BCCD"
parts = dict(train=[("", "trainval")], test=[("", "test")])
sizes = dict(train=292, test=72)
classes = ["RBC", "WBC", "Platelets"]
get_it = "github.com/Shenggan/BCCD_Dataset, then make data PROTOCOL=mini; see docs/data.md"
