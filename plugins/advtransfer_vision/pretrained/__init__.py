"""Sources whose weights come from elsewhere: architectures by name, files of weights, what is known of them.

`claims`, `remote` and `known` are light; the other modules import torch.
"""
