"""Networks around an existing architecture whose parameters keep their names.

`ChainedNetwork` is for a forward pass that runs one module after another, `HookedNetwork` for all
other architectures.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from advtransfer.toolkit.network import ReadOnlyHead, require_block

ForwardStep: TypeAlias = "str | nn.Module | tuple[str, nn.Module]"
"""The path of a module in the architecture, or a module that runs between them."""

NORMALIZATION_LAYERS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.LayerNorm,
    nn.GroupNorm,
)
LOGIT_TOLERANCE = 1e-5
"""The allowed difference of a chain's logits from the architecture's, relative to the largest."""


class ChainedNetwork(ReadOnlyHead):
    """A `Network` whose forward pass is a chain: normalisation, blocks in order, head.

    A block begins at each step that has weights and is not a normalisation layer: a residual block,
    or a single convolution or linear layer. Steps without weights (activations, pooling) and
    normalisation layers belong to the block before them. The last group is the head.

    Args:
        model: The architecture; its parameters keep their names, after ``model.``.
        steps: The steps of its forward pass, in order. The path of a plain ``nn.Sequential`` stands
            for its children, unless it begins with a normalisation layer.
        normalise: Applied to the inputs first; None for none.

    Raises:
        ValueError: A path does not exist, fewer than two steps have weights, or some weights are in
            no step.
    """

    def __init__(
        self, model: nn.Module, steps: Iterable[ForwardStep], normalise: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.normalise = nn.Identity() if normalise is None else normalise
        expanded = itertools.chain.from_iterable(_expand_step(model, step) for step in steps)
        *blocks, (_, head) = _group_steps(expanded)
        # In a dict and a tuple, which nn.Module does not register: these modules are children of
        # `model` already and would be saved twice.
        self._blocks = {name: _join_modules(group) for name, group in blocks}
        self._head = (_join_modules(head),)
        _require_all_weights(model, [*self._blocks.values(), self.head])

    @property
    def blocks(self) -> Mapping[str, nn.Module]:
        """The blocks from the input to the head, by the path of each block's first module."""
        return dict(self._blocks)

    @property
    def head(self) -> nn.Module:
        """The head, from features to logits."""
        return self._head[0]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits ``(B, outputs)`` of pixels ``(B, C, H, W)``."""
        logits: Tensor = self.head(self.features(inputs))
        return logits

    def features(self, inputs: Tensor, *, upto: str | None = None) -> Tensor:
        """Return the activations after the block `upto`; by default the inputs of the head.

        Raises:
            ValueError: There is no such block.
        """
        require_block(upto, self._blocks)
        activations: Tensor = self.normalise(inputs)
        for name, block in self._blocks.items():
            activations = block(activations)
            if name == upto:
                break
        return activations

    def check_logits(self, inputs: Tensor) -> None:
        """Check, in eval mode, that the chain computes the architecture's own forward pass.

        Raises:
            ValueError: The logits for `inputs` ``(B, C, H, W)`` differ.
        """
        with torch.no_grad():
            expected: Tensor = self.model(self.normalise(inputs))
            error = (self(inputs) - expected).abs().max().item()
        largest = max(1.0, expected.abs().max().item())
        # Not `error > tolerance`, which would accept NaN.
        if not error <= LOGIT_TOLERANCE * largest:
            found = f"logits that differ by {error:g} from those of {type(self.model).__name__}"
            raise ValueError(
                f"found {found}; expected the same; give its blocks and its head by name instead"
            )


def get_submodule(model: nn.Module, path: str) -> nn.Module:
    """Return the module at a path such as ``layer4.2``.

    Raises:
        ValueError: There is none; lists the modules at the point where the path ends.
    """
    module = model
    walked: list[str] = []
    for name in path.split("."):
        children = dict(module.named_children())
        if name not in children:
            where = f"in {'.'.join(walked)!r} " if walked else ""
            found = f"the path {path!r}, but no {name!r} {where}of {type(model).__name__}"
            raise ValueError(
                f"found {found}; expected one of {', '.join(children) or 'none'}; correct the path"
            )
        module = children[name]
        walked.append(name)
    return module


def _expand_step(model: nn.Module, step: ForwardStep) -> Iterator[tuple[str, nn.Module]]:
    """Yield the step with its path, or the children of a plain ``nn.Sequential`` with theirs."""
    path, module = _named_step(model, step)
    children = dict(module.named_children()) if type(module) is nn.Sequential else {}
    if not children or isinstance(next(iter(children.values())), NORMALIZATION_LAYERS):
        # A leading normalisation layer acts on the inputs of its own Sequential, as in the
        # transitions between stages. Expanded, it would belong to the block before.
        yield path, module
        return
    for name, child in children.items():
        yield from _expand_step(model, (f"{path}.{name}", child))


def _named_step(model: nn.Module, step: ForwardStep) -> tuple[str, nn.Module]:
    if isinstance(step, str):
        return step, get_submodule(model, step)
    if isinstance(step, tuple):
        return step
    return "", step


def _group_steps(steps: Iterable[tuple[str, nn.Module]]) -> list[tuple[str, list[nn.Module]]]:
    """Return the modules of each block and of the head, with the path of the first weighted one.

    Raises:
        ValueError: Fewer than two steps have weights.
    """
    groups: list[tuple[str, list[nn.Module]]] = []
    leading: list[nn.Module] = []
    for path, module in steps:
        if _has_weights(module) and not isinstance(module, NORMALIZATION_LAYERS):
            groups.append((path, [*leading, module]))
            leading = []
        elif groups:
            groups[-1][1].append(module)
        else:
            leading.append(module)
    if len(groups) < 2:
        names = [path for path, _ in groups]
        raise ValueError(
            f"found the steps with weights {names}; expected a block and a head; name more steps"
        )
    return groups


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _join_modules(modules: Sequence[nn.Module]) -> nn.Module:
    # A single module stays itself, so that a residual block is the architecture's own module.
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)


def _require_all_weights(model: nn.Module, parts: Iterable[nn.Module]) -> None:
    """Check that every parameter of the model is in one of the parts."""
    used: set[int] = set()
    for part in parts:
        used.update(id(parameter) for parameter in part.parameters())
    unused = [name for name, parameter in model.named_parameters() if id(parameter) not in used]
    if unused:
        first_names = ", ".join(unused[:3])
        found = f"{first_names} ({len(unused)} in all) in no step of {type(model).__name__}"
        raise ValueError(
            f"found {found}; expected every weight in a block or the head; "
            "name the steps that are missing"
        )


STEM = "stem"


class HookedNetwork(ReadOnlyHead):
    """A `Network` around an architecture, given by the paths at which its blocks begin.

    Its blocks hold weights to train. They cannot be called one after another, since only the
    architecture knows what happens between them. Where nothing happens between them, a
    `ChainedNetwork` is better: it can compute the outputs of frozen blocks once.

    Args:
        model: The architecture; its parameters keep their names, after ``model.``.
        blocks: Paths of the modules at which blocks begin, from the input on. A module on none of
            these paths belongs to the block registered before it; modules before the first path
            form the block ``stem``.
        head: The path of the module that returns the logits.
        normalise: Applied to the inputs first; None for none.

    Raises:
        ValueError: There are no blocks, two paths are equal, or a path does not exist.
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
            found = f"the blocks {list(blocks)} and the head {head!r}"
            raise ValueError(f"found {found}; expected different paths; name each")
        # In dicts, which nn.Module does not register: these modules are children of `model`
        # already.
        self._first_modules = {path: get_submodule(model, path) for path in paths}
        names = (STEM, *blocks)
        modules = _modules_by_block(model, paths)
        self._blocks = {name: modules[name] for name in names if _has_weights(modules[name])}
        self._next_path = dict(zip(names, paths, strict=True))

    @property
    def blocks(self) -> Mapping[str, nn.Module]:
        """The weights of each block from the input to the head, by the path of its first module."""
        return dict(self._blocks)

    @property
    def head(self) -> nn.Module:
        """The head, from features to logits."""
        return next(reversed(self._first_modules.values()))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits ``(B, outputs)`` of pixels ``(B, C, H, W)``."""
        logits: Tensor = self.model(self.normalise(inputs))
        return logits

    def features(self, inputs: Tensor, *, upto: str | None = None) -> Tensor:
        """Return the inputs of the block after `upto`; by default the inputs of the head.

        Raises:
            ValueError: There is no such block, or the forward pass never runs the block after it.
        """
        require_block(upto, self._blocks)
        path = next(reversed(self._first_modules)) if upto is None else self._next_path[upto]
        # An exception ends the forward pass here, since its remainder is not needed.
        hook = self._first_modules[path].register_forward_pre_hook(_stop_forward)
        try:
            self(inputs)
        except _ActivationsReached as reached:
            return reached.activations
        finally:
            hook.remove()
        expected = "a module that every input passes"
        raise ValueError(f"found {path!r} not in use; expected {expected}; name another one")


class _ActivationsReached(Exception):
    """Ends a forward pass and carries its activations out of it."""

    def __init__(self, activations: Tensor) -> None:
        self.activations = activations
        super().__init__()


def _stop_forward(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    raise _ActivationsReached(inputs[0])


def _modules_by_block(model: nn.Module, paths: Sequence[str]) -> dict[str, nn.Module]:
    """Return containers of the modules of the stem, of each block and of the head, by path."""
    containers: dict[str, nn.Module] = {name: nn.Module() for name in (STEM, *paths)}
    current = containers[STEM]
    assigned: list[str] = []
    for path, module in model.named_modules():
        if any(path.startswith(f"{parent}.") for parent in assigned):
            continue
        is_ancestor = not path or any(block.startswith(f"{path}.") for block in paths)
        if is_ancestor:
            # Blocks begin inside this module, so only its own parameters belong to the current
            # block.
            for name, parameter in module.named_parameters(recurse=False):
                current.register_parameter(f"{path}.{name}".replace(".", "_"), parameter)
            continue
        if path in paths:
            current = containers[path]
        # Without dots, which nn.Module refuses in names.
        current.add_module(path.replace(".", "_"), module)
        assigned.append(path)
    return containers
