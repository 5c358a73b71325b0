"""Reading of checkpoint files: the tensors of an architecture, its normalisation, and what a record says of them.

Files of the robustness library, as ``robustness/train.py`` writes them, hold a dictionary: under ``model`` (in older
files ``state_dict``) the weights of a ``DataParallel`` around an ``AttackerModel``, beside optimiser, schedule and
epoch. The attacker model holds the network twice, as ``model`` and as ``attacker.model``, and its normaliser twice.
Networks that robust-models-transfer takes from torchvision are wrapped once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from advtransfer.types import Tensors
from advtransfer_vision.pretrained.network_spec import CutNetwork
from advtransfer_vision.pretrained.safe_load import CheckpointError, read_weights
from advtransfer_vision.pretrained.state_dicts import ChosenWeights, choose_weights
from advtransfer_vision.pretrained.tensor_names import (
    PrefixedTensors,
    find_normalization,
    select_prefix,
    strip_wrappers,
)


@dataclass(frozen=True, slots=True)
class CheckpointContents:
    """The content of a checkpoint file.

    Args:
        tensors: The weights by the names of the architecture.
        normalization: ``mean`` and ``std``, ``(C, 1, 1)``, if the file has them.
        facts: Facts about the file for the record.
        new_head: Whether the head keeps its initial weights.
    """

    tensors: Tensors
    normalization: Tensors = field(default_factory=dict)
    facts: Mapping[str, float | str] = field(default_factory=dict)
    new_head: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointLayout:
    """The location of the weights in a file, as far as a suite gives it.

    Args:
        key: Key of the set of weights in the file; None to search for it.
        prefix: Prefix of the architecture's names; None to search for it.
        new_head: Whether to draw the head, and ignore the file's.
        options: Options of the component, so that error messages suggest no others.
    """

    key: str | None = None
    prefix: str | None = None
    new_head: bool = False
    options: frozenset[str] = frozenset({"key", "prefix", "new_head"})

    def read_file(
        self,
        path: Path,
        network: CutNetwork,
        *,
        what: str,
        rename: Callable[[Tensors], dict[str, Tensor]],
    ) -> CheckpointContents:
        """Return the tensors of a file by the names of the network's architecture.

        Args:
            path: A safetensors or torch file.
            network: The network that the weights are for.
            what: The architecture, for error messages.
            rename: Converts the names that a file may have to those of the architecture.

        Raises:
            CheckpointError: The file cannot be read, or has several sets of weights.
        """
        expected = list(network.model.state_dict())
        chosen = choose_weights(read_weights(path), expected, path=path, key=self.key)
        # Renamed before, since a prefix is recognised by names that the architecture has today, and
        # after, since some old names are recognised only without a prefix.
        prefixed = select_prefix(
            rename(chosen.tensors), expected, prefix=self.prefix, what=what, place=str(path)
        )
        tensors = rename(prefixed.tensors)
        if self.new_head:
            tensors = without_head(tensors, network)
        facts = choice_facts(chosen, prefixed)
        unused = len(chosen.tensors) - len(tensors) - len(prefixed.normalization)
        facts["unused_tensors"] = max(0, unused)
        if self.new_head:
            facts["drawn_head"] = 1
        return CheckpointContents(tensors, prefixed.normalization, facts, self.new_head)


def choice_facts(chosen: ChosenWeights, prefixed: PrefixedTensors) -> dict[str, float | str]:
    """Return the facts for a record about the choice of weights, if there was a choice."""
    facts: dict[str, float | str] = {}
    if chosen.key:
        facts["key"] = chosen.key
    if chosen.other_keys:
        facts["other_keys"] = ", ".join(chosen.other_keys)
    if prefixed.prefix:
        facts["prefix"] = prefixed.prefix
    if chosen.other_values:
        facts["unused_values"] = chosen.other_values
    return facts


def without_head(tensors: Tensors, network: CutNetwork) -> dict[str, Tensor]:
    """Return the tensors without those of a head.

    A file's head may have other names than this architecture's. So a tensor is kept if it is one of the backbone's, or
    lies in a module that the head has no part in.
    """
    head = head_names(network)
    backbone = set(network.model.state_dict()) - head
    head_modules = {_first_module(name) for name in head}
    backbone_modules = {_first_module(name) for name in backbone} - head_modules
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name in backbone or _first_module(name) in backbone_modules
    }


def head_names(network: CutNetwork) -> set[str]:
    """Return the names of the head's weights in the architecture."""
    head = {id(parameter) for parameter in network.head.parameters()}
    return {name for name, parameter in network.model.named_parameters() if id(parameter) in head}


def _first_module(name: str) -> str:
    """Return the outermost module in a tensor's name."""
    return name.split(".", 1)[0]


ROBUSTNESS_KEYS = ("model", "state_dict")
"""``robustness.model_utils`` takes the first of these keys that exists."""

NORMALIZER_PREFIX = "normalizer."
ATTACKER_PREFIX = "attacker."
NETWORK_PREFIXES = ("model.model.", "model.")


def read_robustness_file(
    path: Path,
    network: CutNetwork,
    *,
    layout: CheckpointLayout,
    what: str,
    rename: Callable[[Tensors], dict[str, Tensor]],
) -> CheckpointContents:
    """Return the weights and the normalisation in a file of the robustness library.

    Args:
        path: The file.
        network: The network that the weights are for.
        layout: Where in the file the weights are.
        what: The architecture, for error messages.
        rename: Converts the names that a file may have to those of the architecture.

    Raises:
        CheckpointError: The file cannot be read, is not of this format, or its two copies of the network differ.
    """
    expected = list(network.model.state_dict())
    chosen = choose_weights(
        read_weights(path), expected, path=path, key=layout.key, order=ROBUSTNESS_KEYS
    )
    tensors = strip_wrappers(chosen.tensors, expected)
    prefix = _network_prefix(tensors)
    if prefix is None:
        first = ", ".join(map(repr, list(chosen.tensors)[:3]))
        wanted = "names that begin with 'module.model.' or 'model.', as the robustness library writes them"
        raise CheckpointError(
            f"found {first} ... in {path}; expected {wanted}; use vision/checkpoint for other files"
        )
    _check_copies(tensors, path=path)
    prefixed = select_prefix(tensors, expected, prefix=prefix, what=what, place=str(path))
    weights = rename(prefixed.tensors)
    if layout.new_head:
        weights = without_head(weights, network)
    normalizer = {
        name: tensor for name, tensor in tensors.items() if name.startswith(NORMALIZER_PREFIX)
    }
    # Every file of this format has the prefix, so a record does not mention it.
    facts = choice_facts(chosen, replace(prefixed, prefix=""))
    if layout.new_head:
        facts["drawn_head"] = 1
    return CheckpointContents(weights, find_normalization(normalizer), facts, layout.new_head)


def _network_prefix(tensors: Tensors) -> str | None:
    """Return the longest of the format's prefixes that some name begins with."""
    for prefix in NETWORK_PREFIXES:
        if any(name.startswith(prefix) for name in tensors):
            return prefix
    return None


def _check_copies(tensors: Tensors, *, path: Path) -> None:
    """Raise a CheckpointError unless the attacker's copies of the weights, which are not used, are equal to them.

    The library always writes equal copies, so a difference means that the file was altered.
    """
    for name, copy in tensors.items():
        if not name.startswith(ATTACKER_PREFIX):
            continue
        original_name = name.removeprefix(ATTACKER_PREFIX)
        original = tensors.get(original_name.replace("normalize.", NORMALIZER_PREFIX))
        if original is None or not original.equal(copy):
            found = f"{name} that is not a copy of the network's in {path}"
            raise CheckpointError(
                f"found {found}; expected the same weights twice; get the file again from its authors"
            )
