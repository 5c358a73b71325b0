"""Files of the robustness library (github.com/MadryLab/robustness) and of microsoft/robust-models-transfer.

What they hold, as ``robustness/train.py`` writes it: a dictionary with the weights of a ``DataParallel`` around an
``AttackerModel`` under ``model`` (older files: ``state_dict``), beside optimiser, schedule and epoch. The attacker
model holds the network twice, as ``model`` and as ``attacker.model``, and its normaliser twice. Networks that
robust-models-transfer takes from torchvision are wrapped once more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from advtransfer.toolkit.safe_load import CheckpointError, read
from advtransfer.types import Tensors
from advtransfer_vision.pretrained.design import Cut
from advtransfer_vision.pretrained.files import Contents, Layout, said, without_head
from advtransfer_vision.pretrained.naming import normalisation, under_prefix, unwrapped
from advtransfer_vision.pretrained.state_dicts import choose

ORDER = ("model", "state_dict")
"""``robustness.model_utils`` takes the first of these that is there."""

NORMALISER, ATTACKER = "normalizer.", "attacker."
PREFIXES = ("model.model.", "model.")


def contents(
    path: Path, network: Cut, *, layout: Layout, what: str, rename: Callable[[Tensors], dict[str, Tensor]]
) -> Contents:
    """The network's weights by its own names, and the normalisation that it was trained with, if it is there.

    Args:
        path: The file.
        network: That the weights are for.
        layout: What the suite says of the file.
        what: The architecture, in the words of an error.
        rename: From the names of a writer to those that the architecture has.

    Raises:
        CheckpointError: The file cannot be read, is not of this format, or its two copies of the network differ.
    """
    expected = list(network.model.state_dict())
    chosen = choose(read(path), expected, path=path, key=layout.key, order=ORDER)
    tensors = unwrapped(chosen.tensors, expected)
    prefix = next((one for one in PREFIXES if any(name.startswith(one) for name in tensors)), None)
    if prefix is None:
        first = ", ".join(map(repr, list(chosen.tensors)[:3]))
        wanted = "names that begin with 'module.model.' or 'model.', as the robustness library writes them"
        raise CheckpointError(f"found {first} ... in {path}; expected {wanted}; use vision/checkpoint for other files")
    _check_copies(tensors, path=path)
    named = under_prefix(tensors, expected, prefix=prefix, what=what, place=str(path))
    weights = rename(named.tensors)
    if layout.new_head:
        weights = without_head(weights, network)
    beside = normalisation({name: one for name, one in tensors.items() if name.startswith(NORMALISER)})
    facts = said(chosen, replace(named, prefix="")) | ({"drawn_head": 1} if layout.new_head else {})
    return Contents(weights, beside, facts, layout.new_head)


def _check_copies(tensors: Tensors, *, path: Path) -> None:
    """The attacker's copies are not used; a file in which they differ is not what the library writes."""
    for name, copy in tensors.items():
        if not name.startswith(ATTACKER):
            continue
        original = tensors.get(name.removeprefix(ATTACKER).replace("normalize.", NORMALISER))
        if original is None or not original.equal(copy):
            found = f"{name} that is not a copy of the network's in {path}"
            raise CheckpointError(
                f"found {found}; expected the same weights twice; get the file again from its authors"
            )
