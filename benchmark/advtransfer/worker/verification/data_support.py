"""What the pixels of data have in common, which tells an attack's points from them.

Pixels of stored images take few values, such as multiples of 1/255, and some pixels are the same in
all images, such as a black border.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.worker.verification.ball import Ball

MOST_VALUES = 1024
"""Most values that pixels of data are known by: those of 10 bits."""

USUAL_SHARE = 0.99
"""Share of the images in which a pixel has one value, if the data do not use it."""

RARE_SHARE = 0.02
"""Share of the images up to which a value that they have does not count."""

SORTED_VALUES = 2**24
"""Pixel values that are sorted at a time; no result depends on it."""

FIRST_PIXELS = 4096
"""Pixels of an image that are looked at first: mostly they tell that it has too many values."""


@dataclass(frozen=True, slots=True)
class DataSupport:
    """Values and pixels that images use.

    Args:
        values: The values of pixels by channel, ascending, each ``(V,)``; None where they take too
            many.
        used: The pixels that differ from image to image, one input's shape, bool; None for all.
    """

    values: tuple[Tensor, ...] | None = None
    used: Tensor | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether points are restricted at all."""
        return self.values is not None or self.used is not None

    def restrict(self, points: Tensor, inputs: Tensor, *, ball: Ball) -> Tensor:
        """Return points in the balls that use the same values and pixels, near `points`, ``(B, ...)``.

        Args:
            points: ``(B, ...)``, in the balls.
            inputs: ``(B, ...)``, the centres. One that takes other values is not rounded.
            ball: The ball around each.
        """
        if self.used is not None:
            points = torch.where(self.used, points, inputs)
        if self.values is None:
            return points
        takes_values = torch.stack(
            [
                torch.isin(channel, values).flatten(1).all(1)
                for channel, values in zip(_channels(inputs), self.values, strict=True)
            ]
        ).all(0)
        rounded = round_inside(points, inputs, ball=ball, values=self.values)
        return torch.where(takes_values.view(-1, *[1] * (inputs.ndim - 1)), rounded, points)


def supports_of(inputs: Tensor, ball: Ball) -> list[DataSupport]:
    """Return how points may be restricted to be like these images, the narrowest first.

    A model may know attacks by the values of pixels, by pixels that no image uses, or by both; each
    restriction that a model does not ask for leaves an attack less room. Without any, there is one
    that changes nothing.

    Args:
        inputs: ``(B, ...)``.
        ball: Ball of the attack. Values that a pixel could not leave in it are no restriction.
    """
    images = inputs.cpu()
    of_channels = [shared_values(channel) for channel in _channels(images)]
    known = [values.to(inputs.device) for values in of_channels if values is not None]
    is_known = len(known) == len(of_channels) and all(_leaves_room(each, ball) for each in known)
    values = tuple(known) if is_known else None
    used = used_pixels(images)
    used = None if used is None else used.to(inputs.device)
    supports = [DataSupport(values, used)]
    if values is not None and used is not None:
        supports += [DataSupport(values, None), DataSupport(None, used)]
    return supports


def shared_values(images: Tensor) -> Tensor | None:
    """Return the values that pixels of most images take, ascending, ``(V,)``; None where there are none.

    Channels are looked at one by one, since a data set may scale each on its own. A value counts
    that two images have, of many images more than 2 %. Images with other values,
    such as a few that were scaled, are left aside.

    Args:
        images: One channel of all, ``(B, ...)``, on the CPU.
    """
    pixels = images.flatten(1)
    some = pixels[:, :FIRST_PIXELS].sort(dim=1).values
    pixels = pixels[_begins_run(some).sum(1) <= MOST_VALUES]
    if not len(pixels):
        return None
    own_values, owners = _values_by_image(pixels)
    values, counts = torch.unique(own_values, return_counts=True)
    shared = values[counts > max(1, RARE_SHARE * len(images))]
    if not 1 < len(shared) <= MOST_VALUES:
        return None
    strays = torch.unique(owners[~torch.isin(own_values, shared)])
    return shared if len(pixels) - len(strays) > len(images) / 2 else None


def _values_by_image(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values of each image ``(B, P)``, one after another, and the images' numbers, ``(V,)``."""
    values, owners = [], []
    # In blocks, since what a sort returns takes three times the memory of the pixels.
    size = max(1, SORTED_VALUES // pixels.shape[1])
    for start in range(0, len(pixels), size):
        ordered = pixels[start : start + size].sort(dim=1).values
        is_new = _begins_run(ordered)
        values.append(ordered[is_new])
        owners.append(start + is_new.nonzero()[:, 0])
    return torch.cat(values), torch.cat(owners)


def _begins_run(ordered: Tensor) -> Tensor:
    """Return which of sorted values ``(B, P)`` differ from the one before."""
    is_new = torch.ones_like(ordered, dtype=torch.bool)
    is_new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return is_new


def used_pixels(images: Tensor) -> Tensor | None:
    """Return the pixels that differ from image to image, one image's shape, bool; None for all.

    Args:
        images: ``(B, ...)``, on the CPU.
    """
    usual = images.median(0).values
    used = (images == usual).float().mean(0) < USUAL_SHARE
    return None if used.all() or not used.any() else used


def round_inside(
    points: Tensor, inputs: Tensor, *, ball: Ball, values: tuple[Tensor, ...]
) -> Tensor:
    """Return points that take the values and lie in the balls, near `points`, ``(B, ...)``.

    Args:
        points: ``(B, ...)``, in the balls.
        inputs: ``(B, ...)``, the centres of the balls, which take the values.
        ball: The ball around each.
        values: By channel, ascending, each ``(V,)``.
    """
    # Room for what float32 rounds of values such as 1/255.
    eps = ball.threat.eps + 1e-7
    reach = eps if ball.threat.norm == "linf" else None
    moved = torch.cat(
        [
            _round_channel(channel, centres, own, reach=reach).flatten(1)
            for channel, centres, own in zip(
                _channels(points), _channels(inputs), values, strict=True
            )
        ],
        dim=1,
    ).view_as(points)
    if ball.threat.norm == "linf":
        return moved
    order = {"l2": 2, "l1": 1}[ball.threat.norm]
    # On the CPU: torch has no deterministic cumulative sum on CUDA.
    costs = ((moved.double() - inputs.double()).abs() ** order).flatten(1).cpu()
    sizes = (points - inputs).abs().flatten(1).cpu()
    # Stable, so that pixels of equal offset are always taken in the same order.
    largest_first = sizes.argsort(dim=1, descending=True, stable=True)
    is_afforded = costs.gather(1, largest_first).cumsum(1) <= eps**order
    is_kept = torch.zeros_like(is_afforded).scatter(1, largest_first, is_afforded)
    return torch.where(is_kept.view_as(inputs).to(inputs.device), moved, inputs)


def _round_channel(
    points: Tensor, inputs: Tensor, values: Tensor, *, reach: float | None
) -> Tensor:
    """Return the nearest values, at most `reach` from the inputs.

    Without a reach every pixel that the point moves goes by one value at least.
    """
    nearest = _nearest(values, points)
    exact, centres = values.double(), inputs.double()
    if reach is not None:
        lowest = torch.searchsorted(exact, centres - reach)
        highest = torch.searchsorted(exact, centres + reach, right=True) - 1
        return values[nearest.clamp(lowest, highest)]
    at = torch.searchsorted(values, inputs.contiguous())
    beside = (at + (points - inputs).sign().long()).clamp(0, len(values) - 1)
    return values[torch.where(nearest == at, beside, nearest)]


def _channels(inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the channels of images ``(B, C, ...)``, and other inputs ``(B, F)`` as one."""
    return inputs.unbind(1) if inputs.ndim > 2 else (inputs,)


def _nearest(values: Tensor, points: Tensor) -> Tensor:
    """Return the indices of the nearest values."""
    above = torch.searchsorted(values, points.contiguous()).clamp(1, len(values) - 1)
    is_below = points - values[above - 1] < values[above] - points
    return torch.where(is_below, above - 1, above)


def _leaves_room(values: Tensor, ball: Ball) -> bool:
    return bool(values.diff().median() <= ball.threat.eps + 1e-7)
