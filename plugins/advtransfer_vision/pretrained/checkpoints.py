"""Read checkpoint files.

The tensors of an architecture, its normalisation, and files of the robustness library.

What they hold, as ``robustness/train.py`` writes it: a dictionary with the weights of a ``DataParallel`` around an
``AttackerModel`` under ``model`` (older files: ``state_dict``), beside optimiser, schedule and epoch. The attacker
model holds the network twice, as ``model`` and as ``attacker.model``, and its normaliser twice. Networks that
robust-models-transfer takes from torchvision are wrapped once more.
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
    """The tensors of a file by the names of its architecture, and its normalisation where it has one of its own.

    Args:
        tensors: Of the architecture.
        normalise: ``mean`` and ``std``, ``(C, 1, 1)``.
        facts: What the record says of the file.
        new_head: The head keeps the weights it was drawn with.
    """

    tensors: Tensors
    normalization: Tensors = field(default_factory=dict)
    facts: Mapping[str, float | str] = field(default_factory=dict)
    new_head: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointLayout:
    """Where in a file the weights are, as far as a suite says it.

    Args:
        key: Of the set of weights in the file; None to find it.
        prefix: Of the architecture's names; None to find it.
        new_head: Draw the head, and use none of the file's.
        options: What the component lets a suite say, so that errors advise nothing else.
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
        """The tensors of a file by the names of the network's architecture.

        Args:
            path: A safetensors or torch file.
            network: That they are for.
            what: The architecture, in the words of an error.
            rename: From the names of a writer to those that the architecture has.

        Raises:
            CheckpointError: The file cannot be read, or does not say which of its weights are meant.
        """
        expected = list(network.model.state_dict())
        chosen = choose_weights(read_weights(path), expected, path=path, key=self.key)
        named = select_prefix(
            rename(chosen.tensors), expected, prefix=self.prefix, what=what, place=str(path)
        )
        tensors = rename(named.tensors)
        if self.new_head:
            tensors = without_head(tensors, network)
        unused = len(chosen.tensors) - len(tensors) - len(named.normalization)
        facts = {**choice_facts(chosen, named), "unused_tensors": max(0, unused)}
        return CheckpointContents(
            tensors,
            named.normalization,
            facts | ({"drawn_head": 1} if self.new_head else {}),
            self.new_head,
        )


def choice_facts(chosen: ChosenWeights, named: PrefixedTensors) -> dict[str, float | str]:
    """What a record says of the choice of weights, where there was one."""
    facts: dict[str, float | str] = {}
    if chosen.key:
        facts["key"] = chosen.key
    if chosen.other_keys:
        facts["other_keys"] = ", ".join(chosen.other_keys)
    if named.prefix:
        facts["prefix"] = named.prefix
    if chosen.other_values:
        facts["unused_values"] = chosen.other_values
    return facts


def without_head(tensors: Tensors, network: CutNetwork) -> dict[str, Tensor]:
    """The tensors without those of a head, be it this architecture's or another, or a module that it has not."""
    head = head_names(network)
    rest = {name for name in network.model.state_dict() if name not in head}
    modules = {_first_module(name) for name in rest} - {_first_module(name) for name in head}
    return {
        name: one for name, one in tensors.items() if name in rest or _first_module(name) in modules
    }


def head_names(network: CutNetwork) -> set[str]:
    """The names of the head's weights in the architecture."""
    head = {id(parameter) for parameter in network.head.parameters()}
    return {name for name, parameter in network.model.named_parameters() if id(parameter) in head}


def _first_module(name: str) -> str:
    """The module of the architecture that a name lies in."""
    return name.split(".", 1)[0]


ROBUSTNESS_KEYS = ("model", "state_dict")
"""``robustness.model_utils`` takes the first of these that is there."""

NORMALIZER_PREFIX, ATTACKER_PREFIX = "normalizer.", "attacker."
NETWORK_PREFIXES = ("model.model.", "model.")


def read_robustness_file(
    path: Path,
    network: CutNetwork,
    *,
    layout: CheckpointLayout,
    what: str,
    rename: Callable[[Tensors], dict[str, Tensor]],
) -> CheckpointContents:
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
    chosen = choose_weights(
        read_weights(path), expected, path=path, key=layout.key, order=ROBUSTNESS_KEYS
    )
    tensors = strip_wrappers(chosen.tensors, expected)
    prefix = next(
        (one for one in NETWORK_PREFIXES if any(name.startswith(one) for name in tensors)), None
    )
    if prefix is None:
        first = ", ".join(map(repr, list(chosen.tensors)[:3]))
        wanted = "names that begin with 'module.model.' or 'model.', as the robustness library writes them"
        raise CheckpointError(
            f"found {first} ... in {path}; expected {wanted}; use vision/checkpoint for other files"
        )
    _check_copies(tensors, path=path)
    named = select_prefix(tensors, expected, prefix=prefix, what=what, place=str(path))
    weights = rename(named.tensors)
    if layout.new_head:
        weights = without_head(weights, network)
    beside = find_normalization(
        {name: one for name, one in tensors.items() if name.startswith(NORMALIZER_PREFIX)}
    )
    facts = choice_facts(chosen, replace(named, prefix="")) | (
        {"drawn_head": 1} if layout.new_head else {}
    )
    return CheckpointContents(weights, beside, facts, layout.new_head)


def _check_copies(tensors: Tensors, *, path: Path) -> None:
    """The attacker's copies are not used; a file in which they differ is not what the library writes."""
    for name, copy in tensors.items():
        if not name.startswith(ATTACKER_PREFIX):
            continue
        original = tensors.get(
            name.removeprefix(ATTACKER_PREFIX).replace("normalize.", NORMALIZER_PREFIX)
        )
        if original is None or not original.equal(copy):
            found = f"{name} that is not a copy of the network's in {path}"
            raise CheckpointError(
                f"found {found}; expected the same weights twice; get the file again from its authors"
            )
