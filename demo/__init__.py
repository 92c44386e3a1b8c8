"""The rendered demo data: a procedural world in the on-disk layouts of the real data sets.

Every image shows objects that are a *shape* filled with a *texture*.  The pre-training set covers
all shapes and all textures, the downstream sets use combinations it never contains, so what can
transfer is knowledge of shape and texture and not of labels.  See `demo.taxonomy`.

    from demo.render import render
    from demo.sizes import Sizes

    render(Path("data/demo"), seed=0, sizes=Sizes(), processes=2)
"""
