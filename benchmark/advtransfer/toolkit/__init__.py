"""The torch side that plugins share.

Data, networks, training and attacks that give the same bits for the same inputs.

Nothing is imported here; name the module you need, such as ``from advtransfer.toolkit.training import train``. Only
`recipe` is light (no torch): its dataclasses can be options of a factory.
"""
