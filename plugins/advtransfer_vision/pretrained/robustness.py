"""Files of the robustness library (github.com/MadryLab/robustness) and of microsoft/robust-models-transfer.

What they hold, as ``robustness/train.py`` writes it: a dictionary with the weights of a ``DataParallel`` around an
``AttackerModel`` under ``model`` (older files: ``state_dict``), beside optimiser, schedule and epoch. The attacker
model holds the network twice, as ``model`` and as ``attacker.model``, and its normaliser twice. Networks that
robust-models-transfer takes from torchvision are wrapped once more.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from advtransfer.toolkit.safe_load import CheckpointError, read, state_dict
from advtransfer.types import Tensors
from advtransfer_vision.pretrained.files import Contents, stripped
from advtransfer_vision.pretrained.zoo import CIFAR

NORMALISER, ATTACKER = "module.normalizer.", "module.attacker."
PREFIXES = ("module.model.model.", "module.model.")

CIFAR_NAMES = (("linear.", "fc."), (".shortcut.", ".downsample."))
"""How ``robustness/cifar_models/resnet.py`` names what torchvision's ResNets name otherwise."""


def contents(path: Path, *, architecture: str) -> Contents:
    """The network's weights under torchvision's names, and the normalisation that it was trained with, if it is there.

    Raises:
        CheckpointError: The file cannot be read, is not of this format, or its two copies of the network differ.
    """
    tensors = state_dict(read(path), path=path, keys=("model", "state_dict"))
    prefix = next((one for one in PREFIXES if any(name.startswith(one) for name in tensors)), None)
    if prefix is None:
        first = ", ".join(map(repr, list(tensors)[:3]))
        expected = "names that begin with 'module.model.', as the robustness library writes them"
        raise CheckpointError(
            f"found {first} ... in {path}; expected {expected}; use vision/checkpoint for other files"
        )
    _check_copies(tensors, path=path)
    weights = {_torchvision(name, architecture): tensor for name, tensor in stripped(tensors, prefix).items()}
    return Contents(weights, _normalisation(stripped(tensors, NORMALISER)))


def _torchvision(name: str, architecture: str) -> str:
    if architecture.startswith(CIFAR):
        for theirs, ours in CIFAR_NAMES:
            name = name.replace(theirs, ours)
    return name


def _normalisation(tensors: Tensors) -> dict[str, Tensor]:
    known = (name for name in ("mean", "std") if f"new_{name}" in tensors)
    return {name: tensors[f"new_{name}"].float().view(-1, 1, 1) for name in known}


def _check_copies(tensors: Tensors, *, path: Path) -> None:
    """The attacker's copies are not used; a file in which they differ is not what the library writes."""
    copies = stripped(tensors, ATTACKER)
    originals = stripped(tensors, "module.")
    for name, copy in copies.items():
        original = originals.get(name.replace("normalize.", "normalizer."))
        if original is None or not original.equal(copy):
            found = f"{ATTACKER}{name} that is not a copy of the network's in {path}"
            raise CheckpointError(
                f"found {found}; expected the same weights twice; get the file again from its authors"
            )
