"""Rendered demo data: procedural images in the on-disk layouts of the real datasets.

Each class of objects is a shape filled with a texture. The pretraining set has all shapes and all
textures; the downstream sets have other combinations of them. So features of shape and texture can
transfer, and labels cannot. See `demo.taxonomy`.

    from demo.render import render
    from demo.sizes import Sizes

    render(Path("data/demo"), seed=0, sizes=Sizes(), processes=2)
"""
