"""Building blocks in torch that plugins share.

Data, networks, training and attacks that give the same bits for the same inputs.

This package imports nothing; import the module you need, such as
``from advtransfer.toolkit.training import train``. The modules `adversary`, `option_checks`,
`tagged_union` and `training_config` do not import torch, so their dataclasses can be options of a
factory; nor does `plot_style`, the look of a page's figures.
"""
