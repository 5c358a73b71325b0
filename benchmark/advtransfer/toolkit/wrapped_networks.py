"""Networks made from an existing architecture, its parameters under their own names.

`ChainedNetwork` is for a forward pass that runs one module after another; `HookedNetwork` is for all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from advtransfer.toolkit.network import ReadOnlyHead, require_block

ForwardStep: TypeAlias = "str | nn.Module | tuple[str, nn.Module]"
"""A module by its path in the architecture; or what is done between modules (flatten, pool), with a name if need be."""

NORMALIZATION_LAYERS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.LayerNorm,
    nn.GroupNorm,
)
LOGIT_TOLERANCE = 1e-5
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

    def __init__(
        self, model: nn.Module, steps: Iterable[ForwardStep], normalise: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.normalise = nn.Identity() if normalise is None else normalise
        *blocks, (_, head) = _group_steps(
            step for one in steps for step in _expand_step(model, one)
        )
        # in containers that nn.Module does not look into: these modules are children of `model` already
        self._blocks = {name: _join_modules(group) for name, group in blocks}
        self._head = (_join_modules(head),)
        _require_all_weights(model, [*self._blocks.values(), self.head])

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
        require_block(upto, self._blocks)
        activations: Tensor = self.normalise(inputs)
        for name, block in self._blocks.items():
            activations = block(activations)
            if name == upto:
                break
        return activations

    def check_logits(self, inputs: Tensor) -> None:
        """Compare the chain, in eval mode, with the architecture's own forward pass.

        Raises:
            ValueError: Their logits for `inputs` ``(B, C, H, W)`` differ.
        """
        with torch.no_grad():
            expected: Tensor = self.model(self.normalise(inputs))
            error = (self(inputs) - expected).abs().max().item()
        if not error <= LOGIT_TOLERANCE * max(1.0, expected.abs().max().item()):
            found = f"logits that differ by {error:g} from those of {type(self.model).__name__}"
            raise ValueError(
                f"found {found}; expected the same; give its blocks and its head by name instead"
            )


def get_submodule(model: nn.Module, path: str) -> nn.Module:
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
            raise ValueError(
                f"found {found}; expected one of {', '.join(children) or 'none'}; correct the path"
            )
        here = children[name]
        walked.append(name)
    return here


def _expand_step(model: nn.Module, step: ForwardStep) -> Iterator[tuple[str, nn.Module]]:
    path, module = (
        (step, get_submodule(model, step)) if isinstance(step, str) else _named_step(step)
    )
    children = dict(module.named_children()) if type(module) is nn.Sequential else {}
    # one that begins with a normalisation layer normalises what comes after it, as transitions between stages do
    if children and not isinstance(next(iter(children.values())), NORMALIZATION_LAYERS):
        for name, child in children.items():
            yield from _expand_step(model, (f"{path}.{name}", child))
    else:
        yield path, module


def _named_step(step: nn.Module | tuple[str, nn.Module]) -> tuple[str, nn.Module]:
    return step if isinstance(step, tuple) else ("", step)


def _group_steps(steps: Iterable[tuple[str, nn.Module]]) -> list[tuple[str, list[nn.Module]]]:
    """The steps of each block and of the head, with the path of the step that each begins with."""
    groups: list[tuple[str, list[nn.Module]]] = []
    first: list[nn.Module] = []
    for path, module in steps:
        if any(True for _ in module.parameters()) and not isinstance(module, NORMALIZATION_LAYERS):
            groups.append((path, [*first, module]))
            first = []
        else:
            (groups[-1][1] if groups else first).append(module)
    if len(groups) < 2:
        names = [path for path, _ in groups]
        raise ValueError(
            f"found the steps with weights {names}; expected a block and a head; name more steps"
        )
    return groups


def _join_modules(modules: Sequence[nn.Module]) -> nn.Module:
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)


def _require_all_weights(model: nn.Module, parts: Iterable[nn.Module]) -> None:
    held = {id(parameter) for part in parts for parameter in part.parameters()}
    left = [name for name, parameter in model.named_parameters() if id(parameter) not in held]
    if left:
        found = f"{', '.join(left[:3])} ({len(left)} in all) in no step of {type(model).__name__}"
        raise ValueError(
            f"found {found}; expected every weight in a block or the head; name the steps that are missing"
        )


STEM = "stem"


class HookedNetwork(ReadOnlyHead):
    """A `Network` around an architecture of which only the places are known where its blocks begin.

    Its blocks hold weights to train. They cannot be called one after another, since what happens between them is known
    to the architecture alone; where that is nothing, a `ChainedNetwork` saves computing frozen blocks again and again.

    Args:
        model: The architecture; its parameters keep their names, after ``model.``.
        blocks: Paths of the modules where blocks begin, from the input on. A module on none of these paths belongs to
            the block that is registered before it; what comes before all of them is the block ``stem``.
        head: The path of the module that gives the logits.
        normalise: Applied to the inputs first; None for none.

    Raises:
        ValueError: There are no blocks, one is named twice, or a path leads nowhere.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        blocks: Sequence[str],
        head: str,
        normalise: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.normalise = nn.Identity() if normalise is None else normalise
        paths = (*blocks, head)
        if not blocks or len(set(paths)) < len(paths):
            raise ValueError(
                f"found the blocks {list(blocks)} and the head {head!r}; expected different paths; name each"
            )
        # in containers that nn.Module does not look into: these modules are children of `model` already
        self._begins = {path: get_submodule(model, path) for path in paths}
        shares = _modules_by_block(model, paths)
        self._blocks = {
            name: shares[name]
            for name in (STEM, *blocks)
            if any(True for _ in shares[name].parameters())
        }
        self._after = dict(zip((STEM, *blocks), paths, strict=True))

    @property
    def blocks(self) -> Mapping[str, nn.Module]:
        """The weights of each block, from the input to the head, by the path of the module it begins with."""
        return dict(self._blocks)

    @property
    def head(self) -> nn.Module:
        """From features to logits."""
        return next(reversed(self._begins.values()))

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, C, H, W)`` pixels to ``(B, outputs)`` logits."""
        logits: Tensor = self.model(self.normalise(inputs))
        return logits

    def features(self, inputs: Tensor, *, upto: str | None = None) -> Tensor:
        """What the block after `upto` receives; by default what the head receives.

        Raises:
            ValueError: There is no such block, or the architecture never comes to what follows it.
        """
        require_block(upto, self._blocks)
        path = next(reversed(self._begins)) if upto is None else self._after[upto]
        hook = self._begins[path].register_forward_pre_hook(_stop_forward)
        try:
            self(inputs)
        except _ActivationsReached as reached:
            return reached.activations
        finally:
            hook.remove()
        raise ValueError(
            f"found {path!r} not in use; expected a module that every input passes; name another one"
        )


class _ActivationsReached(Exception):
    """Carries activations out of a forward pass that need not go on."""

    def __init__(self, activations: Tensor) -> None:
        self.activations = activations
        super().__init__()


def _stop_forward(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    raise _ActivationsReached(inputs[0])


def _modules_by_block(model: nn.Module, paths: Sequence[str]) -> dict[str, nn.Module]:
    """What belongs to the stem, to each block and to the head: the modules that begin them, and what stands between."""
    shares: dict[str, nn.Module] = {name: nn.Module() for name in (STEM, *paths)}
    current, inside = shares[STEM], list[str]()
    for path, module in model.named_modules():
        if any(path.startswith(f"{one}.") for one in inside):
            continue
        if not path or any(one.startswith(f"{path}.") for one in paths):
            for name, parameter in module.named_parameters(recurse=False):
                current.register_parameter(f"{path}.{name}".replace(".", "_"), parameter)
            continue
        current = shares[path] if path in paths else current
        current.add_module(path.replace(".", "_"), module)
        inside.append(path)
    return shares
