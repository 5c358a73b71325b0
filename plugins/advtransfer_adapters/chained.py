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
    """An adapter that says what shape it gives, so that others can follow it."""

    def shape(self, *, target: Shape, source: Shape) -> Shape:
        """What it makes of inputs of the shape `target`, on their way to the shape `source`."""


class ModuleChain(nn.Sequential):
    """Modules one after another."""

    @property
    def window(self) -> Window | None:
        """The rows and columns of the target's images that a crop leaves; None where no crop comes first.

        Maps that only mix channels may stand before the crop.
        """
        for module in self:
            if isinstance(module, CenterCrop):
                return module.window
            if not isinstance(module, ChannelMean | ChannelRepeat | nn.Identity):
                return None
        return None


@dataclass(frozen=True, slots=True)
class AdapterChain:
    """An adapter that passes inputs through several.

    A part that does not say its shape, such as a third party's, gives the source's.
    """

    parts: tuple[Adapter, ...]

    @property
    def learned(self) -> bool:
        """Whether any part is."""
        return any(part.learned for part in self.parts)

    def shape(self, *, target: Shape, source: Shape) -> Shape:
        """What the last part gives."""
        return self._intermediate_shapes(target, source)[-1]

    def module(self, *, target: Shape, source: Shape) -> nn.Module:
        """The map ``(B, *target) -> (B, *source)``.

        Raises:
            Inapplicable: A part cannot work on what it gets, or the last one gives another shape.
        """
        shapes = self._intermediate_shapes(target, source)
        if shapes[-1] != source:
            way = " -> ".join(map(str, shapes))
            raise Inapplicable(
                f"the chain leads from the target's inputs along {way}, but the source takes {source}; add a part"
            )
        steps = zip(self.parts, shapes, shapes[1:], strict=False)
        return ModuleChain(
            *_flatten_chains(
                part.module(target=before, source=after) for part, before, after in steps
            )
        )

    def _intermediate_shapes(self, target: Shape, source: Shape) -> list[Shape]:
        """The target's shape, and the shape after each part."""
        shapes = [target]
        for part in self.parts:
            given = (
                part.shape(target=shapes[-1], source=source)
                if isinstance(part, ShapedAdapter)
                else source
            )
            shapes.append(given)
        return shapes


@dataclass(frozen=True, slots=True)
class AutomaticAdapter:
    """An adapter that becomes what its two shapes need."""

    @property
    def learned(self) -> bool:
        """It is not."""
        return False

    def shape(self, *, target: Shape, source: Shape) -> Shape:
        """The source's."""
        return source

    def module(self, *, target: Shape, source: Shape) -> nn.Module:
        """The map ``(B, *target) -> (B, *source)``.

        Raises:
            Inapplicable: The shapes differ and are not those of images, or neither side has one channel.
        """
        if target == source:
            return nn.Identity()
        parts: list[Adapter] = [fixed.resize_adapter(grid="centred")]
        if target[:1] != source[:1]:
            parts.insert(
                0,
                fixed.channel_mean_adapter()
                if source[:1] == (1,)
                else fixed.channel_repeat_adapter(),
            )
        return AdapterChain(tuple(parts)).module(target=target, source=source)


def _flatten_chains(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """The modules, a chain among them as its own."""
    return [leaf for one in modules for leaf in (one if isinstance(one, ModuleChain) else (one,))]
