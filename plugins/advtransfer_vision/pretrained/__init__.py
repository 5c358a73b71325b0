"""Sources with weights from files or libraries: architectures by name, files of weights, claims about them.

`claims` and `hub_files` do not import torch; the other modules do.
"""
