"""Adapters composed of other adapters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.types import Adapter, Shape
from advtransfer_adapters import fixed
from advtransfer_adapters.fixed import CenterCrop, ChannelMean, ChannelRepeat, Window


@runtime_checkable
class ShapedAdapter(Protocol):
    """Adapter with a known output shape, so that others can follow it in a chain."""

    def shape(self, *, target: Shape, source: Shape) -> Shape:
        """Return the output shape for inputs of shape `target`, on their way to shape `source`."""


class ModuleChain(nn.Sequential):
    """Modules applied one after another."""

    @property
    def window(self) -> Window | None:
        """Rows and columns of the image that a crop keeps; None unless a crop comes first.

        Modules that only mix channels may precede the crop.
        """
        for module in self:
            if isinstance(module, CenterCrop):
                return module.window
            if not isinstance(module, ChannelMean | ChannelRepeat | nn.Identity):
                return None
        return None


@dataclass(frozen=True, slots=True)
class AdapterChain:
    """Adapter that applies several adapters one after another.

    A part without a `shape` method, such as a third party's, is assumed to give the source's shape.
    """

    parts: tuple[Adapter, ...]

    @property
    def learned(self) -> bool:
        """True if any part is learned."""
        return any(part.learned for part in self.parts)

    def shape(self, *, target: Shape, source: Shape) -> Shape:
        """Return the output shape of the last part."""
        return self._intermediate_shapes(target, source)[-1]

    def module(self, *, target: Shape, source: Shape) -> nn.Module:
        """Return the map ``(B, *target) -> (B, *source)``.

        Raises:
            Inapplicable: A part does not apply to its input, or the last one gives another shape.
        """
        shapes = self._intermediate_shapes(target, source)
        if shapes[-1] != source:
            path = " -> ".join(map(str, shapes))
            raise Inapplicable(
                f"the chain leads from the target's inputs along {path}, "
                f"but the source takes {source}; add a part"
            )
        modules = [
            part.module(target=before, source=after)
            # There is one shape more than there are parts.
            for part, before, after in zip(self.parts, shapes, shapes[1:], strict=False)
        ]
        return ModuleChain(*_flatten_chains(modules))

    def _intermediate_shapes(self, target: Shape, source: Shape) -> list[Shape]:
        """Return the target's shape, and the shape after each part."""
        shapes = [target]
        for part in self.parts:
            if isinstance(part, ShapedAdapter):
                shapes.append(part.shape(target=shapes[-1], source=source))
            else:
                shapes.append(source)
        return shapes


@dataclass(frozen=True, slots=True)
class AutomaticAdapter:
    """Adapter chosen from the shapes it connects."""

    @property
    def learned(self) -> bool:
        """False: none of its parts is learned."""
        return False

    def shape(self, *, target: Shape, source: Shape) -> Shape:
        """Return the source's shape."""
        return source

    def module(self, *, target: Shape, source: Shape) -> nn.Module:
        """Return the map ``(B, *target) -> (B, *source)``.

        Raises:
            Inapplicable: The shapes differ and are not those of images, or neither side has one
                channel.
        """
        if target == source:
            return nn.Identity()
        parts: list[Adapter] = [fixed.resize_adapter(grid="centred")]
        if target[:1] != source[:1]:
            has_one_channel = source[:1] == (1,)
            channels = (
                fixed.channel_mean_adapter() if has_one_channel else fixed.channel_repeat_adapter()
            )
            parts.insert(0, channels)
        return AdapterChain(tuple(parts)).module(target=target, source=source)


def _flatten_chains(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Return the modules, with each chain replaced by its own modules."""
    flat: list[nn.Module] = []
    for module in modules:
        # Otherwise `ModuleChain.window` would not see a crop inside an inner chain.
        flat.extend(module if isinstance(module, ModuleChain) else [module])
    return flat
