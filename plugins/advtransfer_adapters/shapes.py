"""Output shape of each adapter, or the reason why it does not apply. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from advtransfer.errors import Inapplicable
from advtransfer.precheck import CellOutline, Misfit, OptionCheck, OptionValues
from advtransfer.types import Shape

ShapeRule: TypeAlias = Callable[[Shape, Shape], Shape]
"""From the input shape and the source's shape to the output shape; raises Inapplicable."""


def after_identity(target: Shape, source: Shape) -> Shape:
    """Return the inputs' own shape."""
    return target


def after_resize(target: Shape, source: Shape) -> Shape:
    """Return the source's height and width with the inputs' channels."""
    _require_images("resize", target, source)
    return (target[0], *source[1:])


def after_channel_mean(target: Shape, source: Shape) -> Shape:
    """Return the inputs' shape with one channel."""
    _require_images("channel_mean", target, source)
    return (1, *target[1:])


def after_channel_repeat(target: Shape, source: Shape) -> Shape:
    """Return the inputs' shape with the source's channels; the inputs must have one."""
    _require_images("channel_repeat", target, source)
    _refuse_unless(
        target[0] == 1,
        target,
        source,
        "channel_repeat takes one channel; use adapters/channel_mean before it",
    )
    return (source[0], *target[1:])


def after_center_crop(target: Shape, source: Shape) -> Shape:
    """Return the source's height and width, which must not be larger than the inputs'."""
    _require_images("centre_crop", target, source)
    fits = target[1] >= source[1] and target[2] >= source[2]
    _refuse_unless(
        fits,
        target,
        source,
        "centre_crop only takes pixels away; use adapters/pad or adapters/resize",
    )
    return (target[0], *source[1:])


def after_pad(target: Shape, source: Shape) -> Shape:
    """Return the source's height and width, which must not be smaller than the inputs'."""
    _require_images("a pad", target, source)
    fits = target[1] <= source[1] and target[2] <= source[2]
    _refuse_unless(
        fits, target, source, "a pad only adds pixels; use adapters/centre_crop or adapters/resize"
    )
    return (target[0], *source[1:])


def after_transposed_convolution(target: Shape, source: Shape) -> Shape:
    """Return the source's shape, whose sides must be whole multiples of the inputs'."""
    are_multiples = False
    if len(target) == len(source) == 3:
        sides = zip(source[1:], target[1:], strict=True)
        are_multiples = all(outer % inner == 0 for outer, inner in sides)
    reason = "multiplies the height and the width of images by whole numbers; use adapters/resize"
    _refuse_unless(are_multiples, target, source, f"transposed_convolution {reason}")
    return source


def require_source_shape(name: str, shape_rule: ShapeRule, target: Shape, source: Shape) -> None:
    """Raise an error unless the adapter gives the source's shape.

    Raises:
        Inapplicable: It gives another shape, or does not apply.
    """
    output_shape = shape_rule(target, source)
    if output_shape != source:
        advice = "chain it with another adapter, or use adapters/auto"
        raise Inapplicable(
            f"{name} makes {output_shape} of inputs {target}, but the source takes {source}; {advice}"
        )


def source_shape_check(name: str, shape_rule: ShapeRule) -> OptionCheck:
    """Return the check that an adapter gives inputs of the source's shape."""

    def check(_: OptionValues, around: CellOutline) -> Iterator[Misfit]:
        target = around.target.shape
        source = around.source.shape
        if target is None or source is None:
            return
        try:
            require_source_shape(name, shape_rule, target, source)
        except Inapplicable as error:
            # Every reason of this module ends in its next step, after the only semicolon.
            found, next_step = str(error).split("; ", 1)
            yield Misfit((), "another adapter between these shapes", next_step, found, skips=True)

    return check


def _require_images(name: str, target: Shape, source: Shape) -> None:
    _refuse_unless(
        len(target) == len(source) == 3,
        target,
        source,
        f"{name} works on images (C, H, W); leave the adapter out",
    )


def _refuse_unless(holds: bool, target: Shape, source: Shape, reason: str) -> None:
    if not holds:
        raise Inapplicable(
            f"found inputs {target} on their way to a source that takes {source}; {reason}"
        )
