"""An architecture as a chain of blocks and a head, its parameters under their own names.

This is exact for the many architectures whose forward pass runs one module after another; `hooked` is for the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from advtransfer.toolkit.network import ReadOnlyHead

Step: TypeAlias = "str | nn.Module | tuple[str, nn.Module]"
"""A module by its path in the architecture; or what is done between modules (flatten, pool), with a name if need be."""

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.LayerNorm, nn.GroupNorm)
TOLERANCE = 1e-5
"""How far the logits of a chain may lie from those of the architecture itself, relative to the largest of them."""


class ChainedNetwork(ReadOnlyHead):
    """A `Network` whose forward pass is a chain: normalisation, blocks in order, head.

    A block begins at each step that has weights and is no normalisation layer: a residual block, or a convolution or
    linear layer by itself. Steps without weights (activations, pooling) and normalisation layers belong to the block
    before them. What begins last is the head.

    Args:
        model: The architecture; its parameters keep their names, after ``model.``.
        steps: What its forward pass does, in order. The path of a plain ``nn.Sequential`` stands for what is in it,
            unless it begins with a normalisation layer.
        normalise: Applied to the inputs first; None for none.

    Raises:
        ValueError: A path leads nowhere, fewer than two steps have weights, or some weights are in no step.
    """

    def __init__(self, model: nn.Module, steps: Iterable[Step], normalise: nn.Module | None = None) -> None:
        super().__init__()
        self.model = model
        self.normalise = nn.Identity() if normalise is None else normalise
        *blocks, (_, head) = _groups(step for one in steps for step in _expanded(model, one))
        # in containers that nn.Module does not look into: these modules are children of `model` already
        self._blocks = {name: _joined(group) for name, group in blocks}
        self._head = (_joined(head),)
        _all_in(model, [*self._blocks.values(), self.head])

    @property
    def blocks(self) -> Mapping[str, nn.Module]:
        """The blocks from the input to the head, each by the path of the module it begins with."""
        return dict(self._blocks)

    @property
    def head(self) -> nn.Module:
        """From features to logits."""
        return self._head[0]

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, C, H, W)`` pixels to ``(B, outputs)`` logits."""
        logits: Tensor = self.head(self.features(inputs))
        return logits

    def features(self, inputs: Tensor, *, upto: str | None = None) -> Tensor:
        """The activations after the block `upto`; by default what the head receives."""
        known_block(upto, self._blocks)
        activations: Tensor = self.normalise(inputs)
        for name, block in self._blocks.items():
            activations = block(activations)
            if name == upto:
                break
        return activations

    def check(self, inputs: Tensor) -> None:
        """Compare the chain, in eval mode, with the architecture's own forward pass.

        Raises:
            ValueError: Their logits for `inputs` ``(B, C, H, W)`` differ.
        """
        with torch.no_grad():
            expected: Tensor = self.model(self.normalise(inputs))
            error = (self(inputs) - expected).abs().max().item()
        if not error <= TOLERANCE * max(1.0, expected.abs().max().item()):
            found = f"logits that differ by {error:g} from those of {type(self.model).__name__}"
            raise ValueError(f"found {found}; expected the same; give its blocks and its head by name instead")


def submodule(model: nn.Module, path: str) -> nn.Module:
    """The module at a path such as ``layer4.2``.

    Raises:
        ValueError: There is none; names those that are where the path ends.
    """
    here, walked = model, list[str]()
    for name in path.split("."):
        children = dict(here.named_children())
        if name not in children:
            place = f"in {'.'.join(walked)!r} " if walked else ""
            found = f"the path {path!r}, but no {name!r} {place}of {type(model).__name__}"
            raise ValueError(f"found {found}; expected one of {', '.join(children) or 'none'}; correct the path")
        here = children[name]
        walked.append(name)
    return here


def known_block(name: str | None, names: Iterable[str]) -> None:
    """Refuse the name of a block that is not one of `names`; None stands for the last."""
    if name is not None and name not in (names := list(names)):
        raise ValueError(f"found block {name!r}; expected one of {names}; name one of these")


def _expanded(model: nn.Module, step: Step) -> Iterator[tuple[str, nn.Module]]:
    path, module = (step, submodule(model, step)) if isinstance(step, str) else _named(step)
    children = dict(module.named_children()) if type(module) is nn.Sequential else {}
    # one that begins with a normalisation layer normalises what comes after it, as transitions between stages do
    if children and not isinstance(next(iter(children.values())), NORMS):
        for name, child in children.items():
            yield from _expanded(model, (f"{path}.{name}", child))
    else:
        yield path, module


def _named(step: nn.Module | tuple[str, nn.Module]) -> tuple[str, nn.Module]:
    return step if isinstance(step, tuple) else ("", step)


def _groups(steps: Iterable[tuple[str, nn.Module]]) -> list[tuple[str, list[nn.Module]]]:
    """The steps of each block and of the head, with the path of the step that each begins with."""
    groups: list[tuple[str, list[nn.Module]]] = []
    first: list[nn.Module] = []
    for path, module in steps:
        if any(True for _ in module.parameters()) and not isinstance(module, NORMS):
            groups.append((path, [*first, module]))
            first = []
        else:
            (groups[-1][1] if groups else first).append(module)
    if len(groups) < 2:
        names = [path for path, _ in groups]
        raise ValueError(f"found the steps with weights {names}; expected a block and a head; name more steps")
    return groups


def _joined(modules: Sequence[nn.Module]) -> nn.Module:
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)


def _all_in(model: nn.Module, parts: Iterable[nn.Module]) -> None:
    held = {id(parameter) for part in parts for parameter in part.parameters()}
    left = [name for name, parameter in model.named_parameters() if id(parameter) not in held]
    if left:
        found = f"{', '.join(left[:3])} ({len(left)} in all) in no step of {type(model).__name__}"
        raise ValueError(
            f"found {found}; expected every weight in a block or the head; name the steps that are missing"
        )
