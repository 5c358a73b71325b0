"""Sources whose weights come from elsewhere.

Architectures by name, files of weights, what is known of them.

`claims`, `remote` and `known` are light; the other modules import torch.
"""
