"""An architecture that keeps its own forward pass, with named blocks of weights; activations are read as they pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from advtransfer.toolkit.blocks import known_block, submodule
from advtransfer.toolkit.network import ReadOnlyHead

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
        self, model: nn.Module, *, blocks: Sequence[str], head: str, normalise: nn.Module | None = None
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
        self._begins = {path: submodule(model, path) for path in paths}
        shares = _shares(model, paths)
        self._blocks = {name: shares[name] for name in (STEM, *blocks) if any(True for _ in shares[name].parameters())}
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
        known_block(upto, self._blocks)
        path = next(reversed(self._begins)) if upto is None else self._after[upto]
        hook = self._begins[path].register_forward_pre_hook(_stop)
        try:
            self(inputs)
        except _Reached as reached:
            return reached.activations
        finally:
            hook.remove()
        raise ValueError(f"found {path!r} not in use; expected a module that every input passes; name another one")


class _Reached(Exception):
    """Carries activations out of a forward pass that need not go on."""

    def __init__(self, activations: Tensor) -> None:
        self.activations = activations
        super().__init__()


def _stop(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    raise _Reached(inputs[0])


def _shares(model: nn.Module, paths: Sequence[str]) -> dict[str, nn.Module]:
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
