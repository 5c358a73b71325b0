"""From a file of weights to a network: the tensors it holds, put into an architecture under strict names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from advtransfer.toolkit.safe_load import read
from advtransfer.types import Tensors
from advtransfer_vision.pretrained.design import Cut
from advtransfer_vision.pretrained.naming import Named, under_prefix
from advtransfer_vision.pretrained.state_dicts import Chosen, choose


@dataclass(frozen=True, slots=True)
class Contents:
    """The tensors of a file by the names of its architecture, and its normalisation where it has one of its own.

    Args:
        tensors: Of the architecture.
        normalise: ``mean`` and ``std``, ``(C, 1, 1)``.
        facts: What the record says of the file.
        new_head: The head keeps the weights it was drawn with.
    """

    tensors: Tensors
    normalise: Tensors = field(default_factory=dict)
    facts: Mapping[str, float | str] = field(default_factory=dict)
    new_head: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
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

    def read(self, path: Path, network: Cut, *, what: str, rename: Callable[[Tensors], dict[str, Tensor]]) -> Contents:
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
        chosen = choose(read(path), expected, path=path, key=self.key)
        named = under_prefix(rename(chosen.tensors), expected, prefix=self.prefix, what=what, place=str(path))
        tensors = rename(named.tensors)
        if self.new_head:
            tensors = without_head(tensors, network)
        unused = len(chosen.tensors) - len(tensors) - len(named.normalise)
        facts = {**said(chosen, named), "unused_tensors": max(0, unused)}
        return Contents(tensors, named.normalise, facts | ({"drawn_head": 1} if self.new_head else {}), self.new_head)


def said(chosen: Chosen, named: Named) -> dict[str, float | str]:
    """What a record says of the choice of weights, where there was one."""
    facts: dict[str, float | str] = {}
    if chosen.key:
        facts["key"] = chosen.key
    if chosen.beside:
        facts["other_keys"] = ", ".join(chosen.beside)
    if named.prefix:
        facts["prefix"] = named.prefix
    if chosen.others:
        facts["unused_values"] = chosen.others
    return facts


def without_head(tensors: Tensors, network: Cut) -> dict[str, Tensor]:
    """The tensors without those of a head, be it this architecture's or another, or a module that it has not."""
    head = head_names(network)
    rest = {name for name in network.model.state_dict() if name not in head}
    modules = {_module(name) for name in rest} - {_module(name) for name in head}
    return {name: one for name, one in tensors.items() if name in rest or _module(name) in modules}


def head_names(network: Cut) -> set[str]:
    """The names of the head's weights in the architecture."""
    head = {id(parameter) for parameter in network.head.parameters()}
    return {name for name, parameter in network.model.named_parameters() if id(parameter) in head}


def _module(name: str) -> str:
    """The module of the architecture that a name lies in."""
    return name.split(".", 1)[0]
